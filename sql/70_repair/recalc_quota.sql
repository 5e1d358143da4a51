create or replace function occupancy.recalc_quota(scope text, scope_id text)
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean :=
    occupancy.check_word(
      scope, array['user', 'project', 'resource_group', 'domain'], 'scope')
    and occupancy.check_name(scope_id, 'scope_id')
    and occupancy.require_fresh_snapshots();
  held occupancy.quota;
  use record;
begin
  -- Whoever charges or frees it holds this row.
  select q.* into held from occupancy.quota q
  where q.scope = recalc_quota.scope and q.scope_id = recalc_quota.scope_id
  for no key update;
  if not found then
    raise exception 'unknown quota'
      using errcode = 'OC005', detail = format('%s %s', scope, scope_id),
            hint = 'create it with occupancy.put_quota';
  end if;
  select u.sessions, u.slots into use from occupancy.quota_use(scope, scope_id) as u;
  if (held.used, held.occupied_slots) is distinct from (use.sessions, use.slots) then
    update occupancy.quota q set used = use.sessions, occupied_slots = use.slots
    where q.scope = held.scope and q.scope_id = held.scope_id;
    return next row(
      format('%s quota %s', held.scope, held.scope_id),
      jsonb_build_object('used', held.used, 'occupied_slots', held.occupied_slots),
      jsonb_build_object('used', use.sessions, 'occupied_slots', use.slots)
    )::occupancy.correction;
  end if;
end;
$$;

comment on function occupancy.recalc_quota(text, text) is
  'Mends one quota: its use from the active compute sessions charged to it. A row if it was wrong. '
  'Safe while others reserve and release. OC005, OC008.';
revoke all on function occupancy.recalc_quota(text, text) from public;
grant execute on function occupancy.recalc_quota(text, text) to occupancy_admin;
