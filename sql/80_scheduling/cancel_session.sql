create or replace function occupancy.cancel_session(session_id uuid)
returns occupancy.session_outcome
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean := occupancy.check_id(session_id, 'session_id');
  fresh constant boolean := occupancy.enter_ledger();
  held occupancy.session;
begin
  loop
    select s.* into held from occupancy.session s
    where s.session_id = cancel_session.session_id for no key update;
    if found then
      if held.status = 'PENDING' then
        perform occupancy.cancel_pending(array[session_id], 'cancelled');
      end if;
      return row(session_id, case held.status
        when 'PENDING' then 'cancelled'
        when 'CANCELLED' then 'already_cancelled'
        when 'TERMINATED' then 'already_released'
        else 'placed' end)::occupancy.session_outcome;
    end if;
    -- Remembered, so that a call to enqueue it that is still on its way finds it ended.
    insert into occupancy.session (session_id, status, created_at, ended_at)
    values (cancel_session.session_id, 'CANCELLED', occupancy.clock(), occupancy.clock())
    on conflict do nothing;
    if found then
      return row(session_id, 'unknown')::occupancy.session_outcome;
    end if;
  end loop;
end;
$$;

comment on function occupancy.cancel_session(uuid) is
  'Takes a PENDING session out of the queue and remembers it as CANCELLED. outcome: cancelled, '
  'already_cancelled, placed (it holds resources: release it), already_released, or unknown, which '
  'is remembered as well. OC005.';
revoke all on function occupancy.cancel_session(uuid) from public;
grant execute on function occupancy.cancel_session(uuid) to occupancy_manager;
