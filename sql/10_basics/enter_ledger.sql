create or replace function occupancy.enter_ledger()
returns boolean
-- Taken into its caller's expression, as a call of plpgsql would cost more than the gate.
language sql volatile
as $$
  -- Whoever changes what quotas are charged passes this gate first, so that put_quota, which
  -- closes it, can count everybody and miss nobody. 1868788289 = 'occ' and a running number.
  select case
    when pg_advisory_xact_lock_shared(1868788289, 1) is null then null
    when occupancy.fresh_snapshots() then true
    else not occupancy.require_present_limits()
  end;
$$;

comment on function occupancy.enter_ledger() is
  'Internal. First step of everything that charges or frees: passes the gate that the creation of '
  'a quota closes, and returns whether statements see fresh snapshots.';
revoke all on function occupancy.enter_ledger() from public;
