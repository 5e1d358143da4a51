create or replace function occupancy.enter_ledger()
returns boolean
language plpgsql volatile
as $$
begin
  -- Whoever changes what quotas are charged passes this gate first, so that put_quota, which
  -- closes it, can count everybody and miss nobody. 1868788289 = 'occ' and a running number.
  if pg_advisory_xact_lock_shared(1868788289, 1) is null then null; end if;
  if occupancy.fresh_snapshots() then
    return true;
  end if;
  -- Not the row's content matters but its version: a change of limits since our snapshot makes
  -- this lock fail with 40001.
  perform from occupancy.limits_version for share;
  return false;
end;
$$;

comment on function occupancy.enter_ledger() is
  'Internal. First step of everything that charges or frees: passes the gate that the creation of '
  'a quota closes, and returns whether statements see fresh snapshots.';
revoke all on function occupancy.enter_ledger() from public;
