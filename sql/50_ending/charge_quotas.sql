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
  scopes constant text[] := array['user', 'project', 'resource_group', 'domain'];
  scope_ids constant text[] :=
    array[charged.user_id, charged.project, charged.resource_group, charged.domain];
begin
  -- The most shared last, a row at a time (see CONTRIBUTING on locks).
  for i in 1 .. 4 loop
    continue when scope_ids[i] is null;
    update occupancy.quota q
    set used = occupancy.count_minus(q.used, ended, q.scope || ' quota ' || q.scope_id),
        occupied_slots = occupancy.slots_plus(
          occupancy.slots_minus(q.occupied_slots, freed, q.scope || ' quota ' || q.scope_id), added)
    where q.scope_id = scope_ids[i] and q.scope = scopes[i];
  end loop;
end;
$$;

comment on function occupancy.charge_quotas(occupancy.session, bigint, jsonb, jsonb) is
  'Internal. Changes the use of every quota that a session is charged to: takes off the sessions '
  'that ended (0 or 1) and the slots that are freed, and adds slots. No limit is compared. OC010 '
  'below zero.';
revoke all on function occupancy.charge_quotas(occupancy.session, bigint, jsonb, jsonb)
  from public;
