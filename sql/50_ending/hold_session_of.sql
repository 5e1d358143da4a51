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
  return held;
end;
$$;

comment on function occupancy.hold_session_of(uuid) is
  'Internal. Locks and returns the session of a kernel; NULL if there is no such kernel. While it '
  'is held, no kernel of the session changes.';
revoke all on function occupancy.hold_session_of(uuid) from public;
