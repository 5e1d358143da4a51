create or replace function occupancy.release_sessions(
  session_ids uuid[],
  manager text default null,
  epoch bigint default null
)
returns setof occupancy.session_outcome
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
  held occupancy.session;
  unseen uuid[];
  living uuid[];
begin
  if session_ids is null or array_position(array(select unnest(session_ids)), null) is not null then
    raise exception 'session_ids is missing, or one of them'
      using errcode = 'OC005', hint = 'pass an array of UUIDs';
  end if;
  if cardinality(session_ids) > 10000 then
    raise exception 'session_ids is too long'
      using errcode = 'OC005', detail = cardinality(session_ids)::text,
            hint = 'at most 10000 in a call';
  end if;
  if manager is not null or epoch is not null then
    perform occupancy.require_holder(manager, epoch);
  end if;
  fresh := occupancy.enter_ledger();

  -- First the ids that nobody has, sorted, to be remembered; then the rows that are there, sorted:
  -- a reservation waits for the former only while it claims, and never holds a row meanwhile.
  with remembered as (
    insert into occupancy.session (session_id, status, created_at, ended_at)
    select ids.session_id, 'CANCELLED', occupancy.clock(), occupancy.clock()
    from (select distinct i.session_id from unnest(session_ids) as i (session_id)) as ids
    where not exists (select from occupancy.session s where s.session_id = ids.session_id)
    order by ids.session_id
    on conflict do nothing
    returning session_id
  )
  select coalesce(array_agg(r.session_id), '{}') into unseen from remembered r;
  living := array(
    select locked.session_id
    from (
      select s.session_id, s.ended_at from occupancy.session s
      where s.session_id = any (session_ids)
      order by s.session_id
      -- Those that have ended are locked too: without this the condition outside would be applied
      -- before the lock, and what is told of them would not wait for the standby.
      offset 0 for no key update
    ) as locked
    where locked.ended_at is null);
  if manager is not null then
    for held in
      select s.* from occupancy.session s
      where s.session_id = any (living) and s.holder_epoch <> release_sessions.epoch
      order by s.session_id
    loop
      perform occupancy.require_lease(held, manager, epoch);
    end loop;
  end if;
  perform occupancy.end_sessions(living);
  return query select o.* from occupancy.release_outcomes(session_ids, living, unseen) as o;
end;
$$;

comment on function occupancy.release_sessions(uuid[], text, bigint) is
  'Ends at most 10,000 sessions in one transaction; a row per element in input order, with the '
  'outcomes of release_session. manager, epoch: as there, one pair for all; what they may not end '
  'refuses the whole batch. OC005, OC009, OC010.';
revoke all on function occupancy.release_sessions(uuid[], text, bigint) from public;
grant execute on function occupancy.release_sessions(uuid[], text, bigint) to occupancy_manager;
