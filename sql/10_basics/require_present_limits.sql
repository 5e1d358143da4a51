create or replace function occupancy.require_present_limits()
returns boolean
language plpgsql volatile
as $$
begin
  -- Not the row's content matters but its version: a change of limits since our snapshot makes
  -- this lock fail with 40001.
  perform from occupancy.limits_version for share;
  return true;
end;
$$;

comment on function occupancy.require_present_limits() is
  'Internal. Refuses (40001) an old snapshot that does not show the limits as they are by now, and '
  'keeps them as they are until this transaction ends.';
revoke all on function occupancy.require_present_limits() from public;
