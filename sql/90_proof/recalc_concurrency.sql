create or replace function occupancy.recalc_concurrency(access_key text)
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- One key's rows are found by an index, whatever the planner knows.
set enable_seqscan = off
as $$
declare
  checked constant boolean :=
    occupancy.check_name(access_key, 'access_key') and occupancy.require_fresh_snapshots();
  keys text[];
begin
  -- A key that somebody deleted by hand may have left rows that need mending.
  if not exists (
    select from occupancy.keypair p where p.access_key = recalc_concurrency.access_key
    union all
    select from occupancy.session_concurrency c
    where c.access_key = recalc_concurrency.access_key
    union all
    select from occupancy.session s
    where s.access_key = recalc_concurrency.access_key and s.ended_at is null
    union all
    select from occupancy.queued_session q
    where q.access_key = recalc_concurrency.access_key
    union all
    select from occupancy.key_queue q where q.access_key = recalc_concurrency.access_key
  ) then
    perform occupancy.refuse_key(access_key);
  end if;
  -- A row that stands under the wrong key is in the way of the right one. All keys are locked here,
  -- those of the queue as well, since locks are taken in one order.
  keys := array(
    select unnest(occupancy.keys_of_queue(access_key))
    union
    select c.access_key
    from occupancy.session_concurrency c
    join occupancy.session s on s.session_id = c.session_id
    where s.access_key = recalc_concurrency.access_key and s.ended_at is null
      and c.access_key <> s.access_key);
  return query select c.* from occupancy.recalc_keys(keys) as c;
  return query select c.* from occupancy.recalc_queues(keys) as c;
end;
$$;

comment on function occupancy.recalc_concurrency(text) is
  'Mends one access key: its set from its live sessions, its counters from the set, its slot use '
  'from its live kernels, its queue and pending counts from its PENDING sessions. A row per '
  'correction; none = all was right. Safe while others reserve and release. OC002, OC005, OC008.';
revoke all on function occupancy.recalc_concurrency(text) from public;
grant execute on function occupancy.recalc_concurrency(text) to occupancy_admin;
