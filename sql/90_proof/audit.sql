create or replace function occupancy.audit()
returns setof occupancy.finding
language sql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
  -- One statement, so that all of it is one snapshot.
  select f.* from occupancy.audit_ledger() as f
  union all
  select f.* from occupancy.audit_queue() as f
  order by invariant, subject;
$$;

comment on function occupancy.audit() is
  'Proof that all numbers are right, read in one snapshot, on a live system as well: a row per '
  'broken invariant with what the ledger says (expected), what is stored (actual) and the '
  'call that mends it (remedy); no row = sound. Takes no locks; scans everything that lives.';
revoke all on function occupancy.audit() from public;
grant execute on function occupancy.audit() to occupancy_viewer;
