create or replace function occupancy.key_use(access_keys text[])
returns setof occupancy.key_total
language sql stable
as $$
  select p.access_key,
         (select count(*) from occupancy.session_concurrency c
          where c.access_key = p.access_key and not c.system),
         (select count(*) from occupancy.session_concurrency c
          where c.access_key = p.access_key and c.system),
         -- Whether a kernel lives is asked last: a planner without statistics would look through
         -- all that live, for each session anew.
         coalesce((
           select occupancy.slots_sum(coalesce(k.settled_slots, k.requested_slots))
                    filter (where k.ended_at is null)
           from occupancy.session s
           join occupancy.kernel k on k.session_id = s.session_id
           where s.access_key = p.access_key and s.ended_at is null and s.status = 'RUNNING'
             and s.session_type <> 'system'), '{}')
  from occupancy.keypair p
  where p.access_key = any (key_use.access_keys);
$$;

comment on function occupancy.key_use(text[]) is
  'Internal. What the counters of keys must be: the rows of their sets per class, and the slots '
  'of the live kernels of their active compute sessions.';
revoke all on function occupancy.key_use(text[]) from public;
