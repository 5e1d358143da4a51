create or replace function occupancy.admit(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  seen occupancy.key_context,
  ahead occupancy.outlook
)
returns occupancy.admission
language plpgsql volatile
as $$
declare
  system constant boolean := session_type = 'system';
  key record;
  agent record;
  agents_occupied jsonb[];
  used bigint;
  fits boolean;
  violated jsonb;
begin
  -- Lock order: the key, the agents by id, the quotas. Then compare, then write.
  select k.user_id, k.domain, k.resource_policy, k.is_active, k.compute_used, k.system_used,
         k.occupied_slots
  into key
  from occupancy.keypair k where k.access_key = admit.access_key
  for no key update;
  if key.user_id is distinct from seen.user_id or key.domain is distinct from seen.domain
     or key.resource_policy <> seen.resource_policy
  then
    return null;
  end if;
  used := case when system then key.system_used else key.compute_used end;
  fits := key.is_active and coalesce(used < seen.max, true)
    and coalesce(cardinality(placed.kernel_ids) <= seen.max_kernels_per_session, true);

  for i in 1 .. cardinality(placed.agent_ids) loop
    select a.resource_group, a.status, a.schedulable, a.available_slots, a.occupied_slots
    into agent
    from occupancy.agent a where a.agent_id = placed.agent_ids[i]
    for no key update;
    if agent.resource_group is distinct from ahead.resource_group then
      return null;
    end if;
    fits := fits and agent.status = 'ALIVE' and agent.schedulable and occupancy.slots_fit(
      placed.agent_slots[i], agent.occupied_slots, agent.available_slots, 'LIMITED');
    agents_occupied[i] := occupancy.slots_plus(agent.occupied_slots, placed.agent_slots[i]);
  end loop;
  if not system then
    fits := fits and occupancy.slots_fit(
      placed.total, key.occupied_slots, seen.total_resource_slots,
      seen.default_for_unspecified);
    key.occupied_slots := occupancy.slots_plus(key.occupied_slots, placed.total);
    if ahead.has_quotas then
      fits := occupancy.charge_quotas_if(
        fits, seen.user_id, project, ahead.resource_group, seen.domain, placed.total);
    end if;
  end if;

  if not fits then
    -- All that decides is locked, but for the policy. Should it have been raised since, nothing is
    -- violated any more, and the next attempt sees it.
    violated := occupancy.violations(access_key, session_type, project, placed);
    if violated is null then
      return null;
    end if;
    return occupancy.rejection(session_id, access_key, used, seen.max, violated);
  end if;

  update occupancy.keypair k
  set compute_used = k.compute_used + (not system)::integer,
      system_used = k.system_used + system::integer,
      occupied_slots = key.occupied_slots
  where k.access_key = admit.access_key;
  for i in 1 .. cardinality(placed.agent_ids) loop
    update occupancy.agent a set occupied_slots = agents_occupied[i]
    where a.agent_id = placed.agent_ids[i];
  end loop;
  insert into occupancy.session_concurrency (access_key, session_id, system)
  values (admit.access_key, admit.session_id, system);
  perform occupancy.insert_kernels(session_id, placed);
  return row(
    session_id, 'admitted', null, null, access_key, used + 1, seen.max, null,
    occupancy.placed_kernels(placed)
  )::occupancy.admission;
end;
$$;

comment on function occupancy.admit(
  uuid, text, text, text, occupancy.placement, occupancy.key_context,
  occupancy.outlook
) is
  'Internal. Decides a reservation whose id is claimed: locks, compares, and writes everything but '
  'the claim or nothing. NULL: the key, its policy or an agent changed since they were seen.';
revoke all on function occupancy.admit(
  uuid, text, text, text, occupancy.placement, occupancy.key_context,
  occupancy.outlook
) from public;
