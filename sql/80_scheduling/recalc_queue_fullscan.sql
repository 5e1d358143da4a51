create or replace function occupancy.recalc_queue_fullscan()
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.require_fresh_snapshots();
begin
  return query
    select c.* from occupancy.recalc_queues(array(
      select k.access_key from occupancy.keypair k
      union
      select q.access_key from occupancy.key_queue q
      union
      select q.access_key from occupancy.queued_session q
      union
      select s.access_key from occupancy.session s
      where s.ended_at is null and s.status = 'PENDING'
    )) as c;
end;
$$;

comment on function occupancy.recalc_queue_fullscan() is
  'recalc_queue for every access key, in one transaction. recalc_concurrency_fullscan does that as '
  'well. A row per correction. OC008.';
revoke all on function occupancy.recalc_queue_fullscan() from public;
grant execute on function occupancy.recalc_queue_fullscan() to occupancy_admin;
