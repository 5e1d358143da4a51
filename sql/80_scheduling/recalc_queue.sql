create or replace function occupancy.recalc_queue(access_key text)
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- One key's rows are found by an index, whatever the planner knows.
set enable_seqscan = off
as $$
declare
  checked constant boolean :=
    occupancy.check_name(access_key, 'access_key') and occupancy.require_fresh_snapshots();
begin
  -- A key that somebody deleted by hand may have left rows that need mending.
  if not exists (
    select from occupancy.keypair k where k.access_key = recalc_queue.access_key
    union all
    select from occupancy.key_queue q where q.access_key = recalc_queue.access_key
    union all
    select from occupancy.queued_session q where q.access_key = recalc_queue.access_key
  ) then
    perform occupancy.refuse_key(access_key);
  end if;
  return query select c.* from occupancy.recalc_queues(occupancy.keys_of_queue(access_key)) as c;
end;
$$;

comment on function occupancy.recalc_queue(text) is
  'Mends the queue of one access key: its places and pending counts, from its PENDING sessions. '
  'recalc_concurrency does that as well. A row per correction; none = all was right. Safe while '
  'others enqueue, tick and cancel. OC002, OC005, OC008.';
revoke all on function occupancy.recalc_queue(text) from public;
grant execute on function occupancy.recalc_queue(text) to occupancy_admin;
