create or replace function occupancy.settle_kernel(
  kernel_id uuid,
  occupied_slots jsonb,
  manager text default null,
  epoch bigint default null
)
returns occupancy.settlement
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean := occupancy.check_id(kernel_id, 'kernel_id');
  added constant jsonb := occupancy.parse_slots(occupied_slots, 'occupied_slots');
  holder constant boolean := manager is null and epoch is null
    or occupancy.require_holder(manager, epoch, kernel_id => kernel_id);
  fresh constant boolean := occupancy.enter_ledger();
  held occupancy.session;
  freed jsonb;
begin
  held := occupancy.hold_session_of(kernel_id);
  if held.session_id is null then
    raise exception 'unknown kernel'
      using errcode = 'OC004', detail = kernel_id::text,
            hint = 'settle a kernel that a reservation answered with';
  end if;
  select coalesce(k.settled_slots, k.requested_slots) into freed
  from occupancy.kernel k
  where k.kernel_id = settle_kernel.kernel_id and k.ended_at is null;
  if not found then
    return row(kernel_id, held.session_id, 'already_released')::occupancy.settlement;
  end if;
  if held.holder_epoch <> epoch then
    perform occupancy.require_lease(held, manager, epoch);
  end if;

  if held.status = 'RUNNING' and held.session_type <> 'system' then
    update occupancy.keypair p
    set occupied_slots = occupancy.slots_plus(
      occupancy.slots_minus(p.occupied_slots, freed, 'keypair ' || p.access_key), added)
    where p.access_key = held.access_key;
  end if;
  update occupancy.agent a
  set occupied_slots = occupancy.slots_plus(
    occupancy.slots_minus(a.occupied_slots, freed, 'agent ' || a.agent_id), added)
  where a.agent_id = (
    select k.agent_id from occupancy.kernel k where k.kernel_id = settle_kernel.kernel_id);
  if held.status = 'RUNNING' and held.session_type <> 'system' then
    perform occupancy.charge_quotas(held, 0, freed, added);
  end if;
  update occupancy.kernel k set settled_slots = added
  where k.kernel_id = settle_kernel.kernel_id;
  return row(kernel_id, held.session_id, 'settled')::occupancy.settlement;
end;
$$;

comment on function occupancy.settle_kernel(uuid, jsonb, text, bigint) is
  'What was requested for a kernel becomes what its agent really allotted, on the agent, the key '
  'and in the slot quotas; never refused for a limit. outcome: settled or already_released. manager, '
  'epoch: see release_session. OC001, OC004 (no such kernel), OC005, OC009, OC010.';
revoke all on function occupancy.settle_kernel(uuid, jsonb, text, bigint) from public;
grant execute on function occupancy.settle_kernel(uuid, jsonb, text, bigint) to occupancy_manager;
