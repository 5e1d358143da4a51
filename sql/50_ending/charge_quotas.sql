create or replace function occupancy.charge_quotas(
  charged occupancy.session,
  ended bigint,
  freed jsonb,
  added jsonb
)
returns void
language plpgsql volatile
as $$
declare
  held record;
begin
  for held in
    select q.scope, q.scope_id, q.used, q.occupied_slots, q.scope || ' quota ' || q.scope_id as name
    from (values
      (1, 'user', charged.user_id), (2, 'project', charged.project),
      (3, 'resource_group', charged.resource_group), (4, 'domain', charged.domain)
    ) as c (position, scope, scope_id)
    join occupancy.quota q on q.scope = c.scope and q.scope_id = c.scope_id
    order by c.position
    for no key update of q
  loop
    update occupancy.quota q
    set used = occupancy.count_minus(held.used, ended, held.name),
        occupied_slots = occupancy.slots_plus(
          occupancy.slots_minus(held.occupied_slots, freed, held.name), added)
    where q.scope = held.scope and q.scope_id = held.scope_id;
  end loop;
end;
$$;

comment on function occupancy.charge_quotas(occupancy.session, bigint, jsonb, jsonb) is
  'Internal. Changes the use of every quota that a session is charged to: takes off the sessions '
  'that ended (0 or 1) and the slots that are freed, and adds slots. No limit is compared. OC010 '
  'below zero.';
revoke all on function occupancy.charge_quotas(occupancy.session, bigint, jsonb, jsonb)
  from public;
