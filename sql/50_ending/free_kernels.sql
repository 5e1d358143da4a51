create or replace function occupancy.free_kernels(
  held occupancy.session,
  only_kernel uuid,
  active boolean,
  ends boolean
)
returns void
language plpgsql volatile
as $$
declare
  is_system constant boolean := held.session_type = 'system';
  given_back bigint := 0;
  live record;
  agent_ids text[];
  agent_slots jsonb[];
  agents integer := 0;
  freed jsonb;
begin
  -- The key is charged with rows of its set: one that somebody deleted by hand is off it already,
  -- one that somebody put under another key is for audit() to name.
  if active and ends then
    delete from occupancy.session_concurrency c
    where c.session_id = held.session_id and c.access_key = held.access_key and c.system = is_system;
    get diagnostics given_back = row_count;
  end if;
  -- The session's row is locked, so its kernels rest: what they hold is known before anything is
  -- locked that others wait for.
  for live in
    select k.agent_id, coalesce(k.settled_slots, k.requested_slots) as slots
    from occupancy.kernel k
    where k.session_id = held.session_id
      and k.ended_at is null and (only_kernel is null or k.kernel_id = only_kernel)
    order by k.agent_id
  loop
    if live.agent_id = agent_ids[agents] then
      agent_slots[agents] := occupancy.slots_plus(agent_slots[agents], live.slots);
    else
      agents := agents + 1;
      agent_ids[agents] := live.agent_id;
      agent_slots[agents] := live.slots;
    end if;
    freed := case when freed is null then live.slots
                  else occupancy.slots_plus(freed, live.slots) end;
  end loop;

  -- Lock order: the key, the agents by id, a row at a time (see CONTRIBUTING on locks), the quotas,
  -- the kernels.
  if active then
    update occupancy.keypair p
    set compute_used = case when is_system then p.compute_used
                            else occupancy.count_minus(
                              p.compute_used, given_back, 'keypair ' || p.access_key) end,
        system_used = case when is_system then occupancy.count_minus(
                             p.system_used, given_back, 'keypair ' || p.access_key)
                           else p.system_used end,
        occupied_slots = case when is_system or freed is null then p.occupied_slots
                              else occupancy.slots_minus(
                                p.occupied_slots, freed, 'keypair ' || p.access_key) end
    where p.access_key = held.access_key;
  end if;
  for i in 1 .. agents loop
    -- No row: somebody deleted the agent by hand; audit() names it.
    update occupancy.agent a
    set occupied_slots = occupancy.slots_minus(
      a.occupied_slots, agent_slots[i], 'agent ' || a.agent_id)
    where a.agent_id = agent_ids[i];
  end loop;
  if active and not is_system and exists (select from occupancy.quota) then
    perform occupancy.charge_quotas(held, ends::integer, coalesce(freed, '{}'), '{}');
  end if;
  update occupancy.kernel k set ended_at = coalesce(held.ended_at, occupancy.clock())
  where k.session_id = held.session_id and k.ended_at is null
    and (only_kernel is null or k.kernel_id = only_kernel);
end;
$$;

comment on function occupancy.free_kernels(occupancy.session, uuid, boolean, boolean) is
  'Internal. Ends one kernel, or with NULL all, of a session whose row the caller has locked, and '
  'frees what they hold. active: whether the session is charged to its key and quotas. ends: '
  'whether it ends with them, which the caller has written: then its slot is given back. OC010.';
revoke all on function occupancy.free_kernels(occupancy.session, uuid, boolean, boolean) from public;
