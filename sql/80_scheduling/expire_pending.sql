create or replace function occupancy.expire_pending(older_than interval)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index, by plans that are made once; a table that was small then may be
-- bloated by now, and the rows of a batch are too few for JIT.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
  fresh constant boolean := occupancy.enter_ledger();
  horizon timestamptz;
  expired uuid[];
begin
  -- An interval may be of mixed signs: what it means is seen only when it is taken off a date.
  if older_than between interval '0' and interval '1000 years' then
    horizon := occupancy.clock() - older_than;
  end if;
  if horizon is null or horizon > occupancy.clock() then
    raise exception 'older_than is missing, negative or beyond 1000 years'
      using errcode = 'OC005', detail = coalesce(older_than::text, 'NULL'),
            hint = 'pass an interval such as ''24 h''';
  end if;
  -- Whoever holds such a row places or cancels it right now.
  select coalesce(array_agg(held.session_id), '{}') into expired
  from (
    select s.session_id from occupancy.session s
    where s.status = 'PENDING' and s.session_id = any (array(
      select q.session_id from occupancy.queued_session q
      -- One that is to start at a time has waited since then only.
      where greatest(q.enqueued_at, q.starts_at) <= horizon
      order by q.enqueued_at
      limit 10000))
    order by s.session_id
    for no key update skip locked
  ) as held;
  perform occupancy.cancel_pending(expired, format('waited longer than %s', older_than));
  return cardinality(expired);
end;
$$;

comment on function occupancy.expire_pending(interval) is
  'Cancels the sessions that have been PENDING for longer, those with a start time since then; at '
  'most 10,000 in a call. Returns how many. OC005.';
revoke all on function occupancy.expire_pending(interval) from public;
grant execute on function occupancy.expire_pending(interval) to occupancy_manager;
