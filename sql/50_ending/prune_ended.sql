create or replace function occupancy.prune_ended(older_than interval)
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
  horizon timestamptz;
  pruned uuid[];
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
  -- Whoever holds such a row is pruning it as well, or looking at it: it can wait for a later call.
  select coalesce(array_agg(held.session_id), '{}') into pruned
  from (
    select s.session_id from occupancy.session s
    where s.ended_at <= horizon
    order by s.ended_at
    limit 10000
    for update skip locked
  ) as held;
  -- A trigger may keep one for whoever needs it a moment longer.
  with forgotten as (
    delete from occupancy.session s where s.session_id = any (pruned) returning s.session_id
  )
  select coalesce(array_agg(f.session_id), '{}') into pruned from forgotten f;
  delete from occupancy.kernel k where k.session_id = any (pruned);
  return cardinality(pruned);
end;
$$;

comment on function occupancy.prune_ended(interval) is
  'Forgets sessions, with their kernels, that ended longer ago than older_than, the oldest first, '
  'at most 10,000 a call, and returns how many. From then on a late reservation of such an id '
  'would be admitted: keep them for 24 hours. OC005.';
revoke all on function occupancy.prune_ended(interval) from public;
grant execute on function occupancy.prune_ended(interval) to occupancy_manager;
