create or replace function occupancy.charges_of(session_ids uuid[])
returns setof occupancy.charge
language sql stable
as $$
  select s.session_id, s.access_key, s.session_type = 'system', s.user_id, s.project,
         s.resource_group, s.domain,
         (select occupancy.slots_sum(coalesce(k.settled_slots, k.requested_slots))
          from occupancy.kernel k
          where k.session_id = s.session_id and k.ended_at is null)
  from occupancy.session s
  where s.session_id = any (charges_of.session_ids) and s.status = 'RUNNING';
$$;

comment on function occupancy.charges_of(uuid[]) is
  'Internal. What active sessions are charged with, and to whom; those of others are left out.';
revoke all on function occupancy.charges_of(uuid[]) from public;
