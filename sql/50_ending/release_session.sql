create or replace function occupancy.release_session(
  session_id uuid,
  manager text default null,
  epoch bigint default null
)
returns occupancy.session_outcome
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean := occupancy.check_id(session_id, 'session_id');
  holder constant boolean := manager is null and epoch is null
    or occupancy.require_holder(manager, epoch, session_id);
  fresh constant boolean := occupancy.enter_ledger();
  -- Whose lease does not keep the caller from ending the session.
  held_by bigint := epoch;
  held occupancy.session;
begin
  loop
    -- Locked and ended by one statement. Only what ran is charged: what was terminating has given
    -- that back, and what waited is cancelled, by the trigger of the queue.
    update occupancy.session s set status = 'TERMINATED', ended_at = occupancy.clock()
    where s.session_id = release_session.session_id and s.ended_at is null
      and (s.holder_epoch <> held_by) is not true
    returning s.* into held;
    if found then
      perform occupancy.free_kernels(
        held, null, held.status = 'TERMINATED' and held.terminating_at is null, true);
      return row(session_id, 'released')::occupancy.session_outcome;
    end if;
    select s.* into held from occupancy.session s
    where s.session_id = release_session.session_id for no key update;
    if held.ended_at is not null then
      return row(session_id, 'already_released')::occupancy.session_outcome;
    end if;
    if found then
      -- Held by another start, or begun in between.
      perform occupancy.require_lease(held, manager, epoch);
      held_by := held.holder_epoch;
      continue;
    end if;
    -- Remembered, so that a reservation that is still on its way finds it ended.
    insert into occupancy.session (session_id, status, created_at, ended_at)
    values (release_session.session_id, 'CANCELLED', occupancy.clock(), occupancy.clock())
    on conflict do nothing;
    if found then
      return row(session_id, 'unknown')::occupancy.session_outcome;
    end if;
  end loop;
end;
$$;

comment on function occupancy.release_session(uuid, text, bigint) is
  'Ends a session: frees its slot, quotas and agents, once. outcome: released, already_released, '
  'or unknown (never seen; now remembered as ended, so that a late reservation of this id is '
  'rejected). Repeating a call is safe. manager, epoch (default: none): a holder speaks, who is '
  'refused (OC009, nothing changes) if a newer start has its name, or if another manager holds the '
  'session, unconfirmed; without them anybody ends it. OC005, OC009, OC010.';
revoke all on function occupancy.release_session(uuid, text, bigint) from public;
grant execute on function occupancy.release_session(uuid, text, bigint) to occupancy_manager;
