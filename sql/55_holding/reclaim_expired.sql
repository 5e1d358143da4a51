create or replace function occupancy.reclaim_expired(max_sessions bigint default 1000)
returns setof occupancy.reclamation
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index, by plans that are made once; a table that was small then may be
-- bloated by now, and the rows of a batch are too few for JIT.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
  fresh boolean;
  silent bigint[];
  expired uuid[];
begin
  if (max_sessions between 1 and 10000) is not true then
    raise exception 'max_sessions is missing or out of range'
      using errcode = 'OC005', detail = coalesce(max_sessions::text, 'NULL'),
            hint = 'pass 1 to 10000';
  end if;
  fresh := occupancy.enter_ledger();
  -- Shared, so that others reclaim beside us, and until we commit, so that no beat comes between.
  -- Whoever is beating right now is passed over; whoever has beaten is compared again.
  select coalesce(array_agg(locked.epoch), '{}') into silent
  from (
    select m.epoch from occupancy.manager m
    where m.beat_at + m.ttl + m.grace <= occupancy.clock()
      and exists (
        select from occupancy.session s
        where s.holder_epoch = m.epoch and s.ended_at is null)
    order by m.epoch
    limit max_sessions
    for share skip locked
  ) as locked;
  -- Whoever holds such a row confirms or ends it, or reclaims it as well.
  select coalesce(array_agg(locked.session_id), '{}') into expired
  from (
    select s.session_id from occupancy.session s
    where s.holder_epoch = any (silent) and s.ended_at is null
    order by s.session_id
    limit max_sessions
    for no key update skip locked
  ) as locked;
  if cardinality(expired) = 0 then
    return;
  end if;
  perform occupancy.end_sessions(expired);
  update occupancy.session s set reclaimed_at = s.ended_at where s.session_id = any (expired);
  return query
    select s.session_id, m.manager::text, m.epoch
    from occupancy.session s
    join occupancy.manager m on m.epoch = s.holder_epoch
    where s.session_id = any (expired)
    order by s.session_id;
end;
$$;

comment on function occupancy.reclaim_expired(bigint) is
  'Frees sessions that were never confirmed and whose manager has been silent for its ttl and its '
  'grace period, each once, at most max_sessions (1 to 10,000) a call: a row each. Safe for anybody '
  'at any time, from several processes at once. OC005, OC010.';
revoke all on function occupancy.reclaim_expired(bigint) from public;
grant execute on function occupancy.reclaim_expired(bigint) to occupancy_manager;
