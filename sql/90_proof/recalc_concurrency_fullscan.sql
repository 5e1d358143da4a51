create or replace function occupancy.recalc_concurrency_fullscan()
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.require_fresh_snapshots();
begin
  return query
    select c.* from occupancy.recalc_keys(array(
      select p.access_key from occupancy.keypair p
      union
      select c.access_key from occupancy.session_concurrency c
      union
      select s.access_key from occupancy.session s where s.ended_at is null
    )) as c;
  return query select c.* from occupancy.recalc_queue_fullscan() as c;
end;
$$;

comment on function occupancy.recalc_concurrency_fullscan() is
  'recalc_concurrency for every access key, in one transaction: it scans everything that lives, '
  'and reservations wait meanwhile. A row per correction. OC008.';
revoke all on function occupancy.recalc_concurrency_fullscan() from public;
grant execute on function occupancy.recalc_concurrency_fullscan() to occupancy_admin;
