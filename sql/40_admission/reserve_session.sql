create or replace function occupancy.reserve_session(
  session_id uuid,
  access_key text,
  kernels jsonb,
  session_type text default 'interactive',
  project text default null,
  manager text default null,
  epoch bigint default null
)
returns occupancy.admission
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean :=
    occupancy.check_reservation(session_id, access_key, session_type, project);
  holder constant boolean := manager is null and epoch is null
    or occupancy.require_holder(manager, epoch, session_id);
  placed constant occupancy.placement := occupancy.parse_kernels(kernels);
begin
  return occupancy.reserve(
    session_id, access_key, session_type, project, placed, epoch, occupancy.fresh_snapshots());
end;
$$;

comment on function occupancy.reserve_session(
  uuid, text, jsonb, text, text, text, bigint
) is
  'Takes the key''s concurrency slot, charges every quota and updates every agent row, or does '
  'none of it. kernels: [{"kernel_id": uuid (optional), "agent": "i-01", "slots": {"cpu": 4}}, …], '
  'all agents in one resource group. session_type: interactive, batch, inference or system. '
  'outcome: admitted; already_admitted (the same call again); rejected, with the code and all '
  'violations. Repeating a call is safe. manager, epoch (default: none): the session is theirs until '
  'confirm_session; should they fall silent before, reclaim_expired frees it. OC001, OC002, OC003, '
  'OC005, OC006, OC009.';
revoke all on function occupancy.reserve_session(
  uuid, text, jsonb, text, text, text, bigint
) from public;
grant execute on function occupancy.reserve_session(
  uuid, text, jsonb, text, text, text, bigint
) to occupancy_manager;
