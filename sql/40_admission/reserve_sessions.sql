create or replace function occupancy.reserve_sessions(sessions jsonb)
returns setof occupancy.admission
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index, by plans that are made once; a table that was small then may be
-- bloated by now, and the rows of a batch are too few for JIT.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
  requests occupancy.request[] := occupancy.parse_requests(sessions);
  fresh constant boolean := occupancy.enter_ledger();
  claimed uuid[];
  used_before occupancy.concurrency_count[];
  together bigint[] := '{}'::bigint[];
  answers occupancy.admission[];
  request occupancy.request;
begin
  select l.requests, l.claimed into requests, claimed
  from occupancy.lock_for_requests(requests) as l;
  used_before := occupancy.counts_of(requests);
  -- Whoever touches only counters that have room for all of the batch is admitted wherever it
  -- stands in it. The others are decided one by one, in input order.
  if fresh then
    begin
      together := occupancy.admit_uncontested(requests, claimed);
    exception when sqlstate 'OC006' then
      null;
    end;
  end if;
  perform occupancy.withdraw_but(requests, claimed, together);
  for i in 1 .. cardinality(requests) loop
    request := requests[i];
    if i = any (together) then
      answers[i] := row(
        request.session_id, 'admitted', null, null, request.access_key, null, null, null,
        occupancy.placed_kernels(request.placed))::occupancy.admission;
    else
      answers[i] := occupancy.reserve_in_turn(request, fresh);
    end if;
  end loop;
  return query select a.* from occupancy.counted(requests, answers, used_before) as a;
end;
$$;

comment on function occupancy.reserve_sessions(jsonb) is
  'Reserves a batch: an array, of at most 10,000, of objects with the argument names of '
  'reserve_session. Same decisions as one call each in that order, in one transaction; answers in '
  'input order. A rejection stops nobody else, nor does an element with a mistake: its outcome is '
  'invalid, its code the OC code. OC005 for what is no array of objects.';
revoke all on function occupancy.reserve_sessions(jsonb) from public;
grant execute on function occupancy.reserve_sessions(jsonb) to occupancy_manager;
