create or replace function occupancy.fresh_snapshots()
returns boolean
language sql stable parallel safe
return current_setting('transaction_isolation') in ('read committed', 'read uncommitted');

comment on function occupancy.fresh_snapshots() is
  'Internal. Whether every statement of this transaction sees what was committed before it began. '
  'Under REPEATABLE READ and SERIALIZABLE the snapshot is as old as the transaction.';
revoke all on function occupancy.fresh_snapshots() from public;
