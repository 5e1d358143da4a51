create or replace function occupancy.release_kernel(
  kernel_id uuid,
  manager text default null,
  epoch bigint default null
)
returns occupancy.kernel_outcome
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean := occupancy.check_id(kernel_id, 'kernel_id');
  holder constant boolean := manager is null and epoch is null
    or occupancy.require_holder(manager, epoch, kernel_id => kernel_id);
  fresh constant boolean := occupancy.enter_ledger();
  held occupancy.session;
begin
  held := occupancy.hold_session_of(kernel_id);
  if held.session_id is null then
    return row(kernel_id, null, 'unknown', false)::occupancy.kernel_outcome;
  end if;
  -- Whether this is the last kernel must not be read from an old snapshot. Those of a terminating
  -- session may have no row in common but the session's, which changes with the last one only.
  if not fresh then
    perform from occupancy.kernel k
    where k.session_id = held.session_id
    order by k.kernel_id for share;
  end if;
  if exists (
    select from occupancy.kernel k
    where k.kernel_id = release_kernel.kernel_id and k.ended_at is not null
  ) then
    return row(kernel_id, held.session_id, 'already_released', held.ended_at is not null)
      ::occupancy.kernel_outcome;
  end if;
  if held.holder_epoch <> epoch then
    perform occupancy.require_lease(held, manager, epoch);
  end if;
  return row(kernel_id, held.session_id, 'released', occupancy.free_kernel(held, kernel_id))
    ::occupancy.kernel_outcome;
end;
$$;

comment on function occupancy.release_kernel(uuid, text, bigint) is
  'One kernel ended: frees its share on its agent and of the slot quotas, once, and leaves session '
  'counts alone; the last kernel ends the session. outcome: released, already_released or '
  'unknown. session_ended: whether the session has ended now. manager, epoch: see release_session. '
  'OC005, OC009, OC010.';
revoke all on function occupancy.release_kernel(uuid, text, bigint) from public;
grant execute on function occupancy.release_kernel(uuid, text, bigint) to occupancy_manager;
