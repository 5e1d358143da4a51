create or replace function occupancy.terminate_session(
  session_id uuid,
  manager text default null,
  epoch bigint default null
)
returns occupancy.session_outcome
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean := occupancy.check_id(session_id, 'session_id');
  holder constant boolean := manager is null and epoch is null
    or occupancy.require_holder(manager, epoch, session_id);
  fresh constant boolean := occupancy.enter_ledger();
  held occupancy.session;
  is_system boolean;
  given_back bigint;
  freed jsonb;
begin
  select s.* into held from occupancy.session s
  where s.session_id = terminate_session.session_id for no key update;
  if not found then
    if not fresh then
      -- An old snapshot does not show a session that began since: its id cannot be claimed (40001).
      insert into occupancy.session (session_id, status, created_at, ended_at)
      values (terminate_session.session_id, 'CANCELLED', occupancy.clock(), occupancy.clock())
      on conflict do nothing;
      perform occupancy.withdraw(session_id);
    end if;
    return row(session_id, 'unknown')::occupancy.session_outcome;
  elsif held.status = 'TERMINATING' then
    return row(session_id, 'already_terminating')::occupancy.session_outcome;
  elsif held.ended_at is not null then
    return row(session_id, 'already_released')::occupancy.session_outcome;
  elsif held.status = 'PENDING' then
    -- It has nothing to wait for.
    perform occupancy.end_sessions(array[session_id]);
    return row(session_id, 'terminating')::occupancy.session_outcome;
  end if;
  if held.holder_epoch <> epoch then
    perform occupancy.require_lease(held, manager, epoch);
  end if;

  is_system := held.session_type = 'system';
  select coalesce(occupancy.slots_sum(coalesce(k.settled_slots, k.requested_slots)), '{}')
  into freed
  from occupancy.kernel k
  where k.session_id = held.session_id and k.ended_at is null;
  -- As in free_kernels: the key is charged with rows of its set, which come before it.
  delete from occupancy.session_concurrency c
  where c.session_id = held.session_id and c.access_key = held.access_key and c.system = is_system;
  get diagnostics given_back = row_count;
  update occupancy.keypair p
  set compute_used = case when is_system then p.compute_used
                          else occupancy.count_minus(
                            p.compute_used, given_back, 'keypair ' || p.access_key) end,
      system_used = case when is_system then occupancy.count_minus(
                           p.system_used, given_back, 'keypair ' || p.access_key)
                         else p.system_used end,
      occupied_slots = case when is_system then p.occupied_slots
                            else occupancy.slots_minus(
                              p.occupied_slots, freed, 'keypair ' || p.access_key) end
  where p.access_key = held.access_key;
  if not is_system then
    perform occupancy.charge_quotas(held, 1, freed, '{}');
  end if;
  update occupancy.session s set status = 'TERMINATING', terminating_at = occupancy.clock()
  where s.session_id = held.session_id;
  return row(session_id, 'terminating')::occupancy.session_outcome;
end;
$$;

comment on function occupancy.terminate_session(uuid, text, bigint) is
  'A session begins to end: gives back its concurrency slot and quotas at once; agents stay '
  'occupied until each kernel or the session is released. outcome: terminating, '
  'already_terminating, already_released or unknown. manager, epoch: see release_session. OC005, '
  'OC009, OC010.';
revoke all on function occupancy.terminate_session(uuid, text, bigint) from public;
grant execute on function occupancy.terminate_session(uuid, text, bigint) to occupancy_manager;
