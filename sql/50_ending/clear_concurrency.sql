create or replace function occupancy.clear_concurrency(access_key text)
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
  checked constant boolean := occupancy.check_name(access_key, 'access_key');
  fresh constant boolean := occupancy.enter_ledger();
  living uuid[];
begin
  perform from occupancy.keypair p where p.access_key = clear_concurrency.access_key;
  if not found then
    perform occupancy.refuse_key(access_key);
  end if;
  perform from occupancy.session s
  where s.access_key = clear_concurrency.access_key and s.ended_at is null
  order by s.session_id for no key update;
  -- An old snapshot does not show a session that began since: then this fails with 40001.
  if not fresh then
    perform from occupancy.keypair p
    where p.access_key = clear_concurrency.access_key for no key update;
  end if;
  -- Again, since one of them may have ended before its row was locked; a newer one is not locked.
  select coalesce(array_agg(held.session_id), '{}') into living
  from (
    select s.session_id from occupancy.session s
    where s.access_key = clear_concurrency.access_key and s.ended_at is null
    for no key update skip locked
  ) as held;
  perform occupancy.end_sessions(living);
  return cardinality(living);
end;
$$;

comment on function occupancy.clear_concurrency(text) is
  'Ends every session of an access key that is there when it is called, terminating ones '
  'included, and returns how many. For purging a user: set the key inactive first. OC002, OC005, OC010.';
revoke all on function occupancy.clear_concurrency(text) from public;
grant execute on function occupancy.clear_concurrency(text) to occupancy_admin;
