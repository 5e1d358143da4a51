create or replace function occupancy.recalc_queue_fullscan()
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.require_fresh_snapshots();
  key record;
begin
  for key in
    select k.access_key from occupancy.keypair k order by k.access_key for no key update
  loop
    return query select c.* from occupancy.recalc_queue(key.access_key) as c;
  end loop;
end;
$$;

comment on function occupancy.recalc_queue_fullscan() is
  'recalc_queue for every access key, in one transaction. A row per correction. OC008.';
revoke all on function occupancy.recalc_queue_fullscan() from public;
grant execute on function occupancy.recalc_queue_fullscan() to occupancy_admin;
