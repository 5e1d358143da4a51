create or replace function occupancy.hold_session_of(kernel_id uuid)
returns occupancy.session
language plpgsql volatile
as $$
declare
  held occupancy.session;
begin
  -- A kernel never moves to another session, so that its session's row can be found unlocked.
  select s.* into held
  from occupancy.session s
  where s.session_id = (
    select k.session_id from occupancy.kernel k where k.kernel_id = hold_session_of.kernel_id)
  for no key update;
  if held.session_id is null and not occupancy.fresh_snapshots() then
    -- An old snapshot does not show a kernel that began since: its id cannot be claimed (40001).
    insert into occupancy.kernel (
      kernel_id, session_id, position, id_generated, agent_id, requested_slots)
    values (hold_session_of.kernel_id, hold_session_of.kernel_id, 0, false, '', '{}')
    on conflict do nothing;
    if found then
      delete from occupancy.kernel k where k.kernel_id = hold_session_of.kernel_id;
    end if;
  end if;
  return held;
end;
$$;

comment on function occupancy.hold_session_of(uuid) is
  'Internal. Locks and returns the session of a kernel; NULL if there is no such kernel. While it '
  'is held, no kernel of the session changes.';
revoke all on function occupancy.hold_session_of(uuid) from public;
