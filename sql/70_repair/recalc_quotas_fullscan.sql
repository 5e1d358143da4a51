create or replace function occupancy.recalc_quotas_fullscan()
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.require_fresh_snapshots();
  listed record;
begin
  -- In the one lock order. What is dropped meanwhile needs no mending.
  for listed in
    select q.scope, q.scope_id from occupancy.quota q
    order by array_position(array['user', 'project', 'resource_group', 'domain'], q.scope::text),
             q.scope_id
    for no key update
  loop
    return query select c.* from occupancy.recalc_quota(listed.scope, listed.scope_id) as c;
  end loop;
end;
$$;

comment on function occupancy.recalc_quotas_fullscan() is
  'recalc_quota for every quota, in one transaction: it scans everything that lives once per '
  'quota, and reservations wait meanwhile. A row per correction. OC008.';
revoke all on function occupancy.recalc_quotas_fullscan() from public;
grant execute on function occupancy.recalc_quotas_fullscan() to occupancy_admin;
