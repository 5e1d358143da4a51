create or replace function occupancy.reserve(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  fresh boolean
)
returns occupancy.admission
language plpgsql volatile
-- One function, since each further one that is handed these rows costs as much as a statement.
as $$
declare
  system constant boolean := session_type = 'system';
  agent_ids constant text[] := placed.agent_ids;
  agent_slots constant jsonb[] := placed.agent_slots;
  total constant jsonb := placed.total;
  kernels_wanted constant integer := cardinality(placed.kernel_ids);
  key record;
  held record;
  agent record;
  resource_group text;
  has_quotas boolean;
  agents_occupied jsonb[];
  key_occupied jsonb;
  used bigint;
  fits boolean;
  violated jsonb;
begin
  <<attempts>>
  for attempt in 1 .. 100 loop
    -- Look ahead, without a lock. Id and counts in one statement: read apart, a duplicate at
    -- limit 1 could miss its own row and then find the key full.
    select k.* into key from occupancy.read_key(session_id, access_key, session_type) as k;
    if key.session_status is not null then
      return occupancy.repeated_reservation(
        session_id, access_key, session_type, project, placed, fresh);
    end if;
    if key.user_id is null then
      perform occupancy.refuse_key(access_key);
    end if;
    fits := coalesce(kernels_wanted <= key.max_kernels_per_session, true)
      and occupancy.slots_fit(
        total, key.occupied_slots, key.total_resource_slots, key.default_for_unspecified);
    resource_group := null;
    for i in 1 .. cardinality(agent_ids) loop
      select a.resource_group, a.status = 'ALIVE' and a.schedulable as available,
             a.available_slots, a.occupied_slots
      into agent
      from occupancy.agent a where a.agent_id = agent_ids[i];
      if not found or resource_group <> agent.resource_group then
        perform occupancy.refuse_agents(agent_ids);
        -- Registered or moved in between.
        continue attempts;
      end if;
      resource_group := agent.resource_group;
      fits := fits and agent.available and occupancy.slots_fit(
        agent_slots[i], agent.occupied_slots, agent.available_slots, 'LIMITED');
    end loop;
    select q.present, fits and q.fit into has_quotas, fits
    from occupancy.quotas_ahead(
      session_type, key.user_id, project, resource_group, key.domain, total) as q;

    -- Who cannot be admitted takes no lock and writes nothing.
    if fresh then
      if not key.is_active or key.used >= key.max then
        return occupancy.key_rejection(
          session_id, access_key, session_type, kernels_wanted, key.max_kernels_per_session,
          key.is_active, key.used, key.max);
      end if;
      if not fits then
        violated := occupancy.violations_ahead(
          session_id, access_key, session_type, project, placed);
        if violated is not null then
          return occupancy.rejection(session_id, access_key, key.used, key.max, violated);
        end if;
      end if;
    end if;

    -- Claim the id: duplicates wait here for each other, and not on a row that everybody needs.
    insert into occupancy.session (
      session_id, status, access_key, session_type, user_id, project, resource_group, domain,
      created_at)
    values (
      reserve.session_id, 'RUNNING', reserve.access_key, reserve.session_type, key.user_id,
      reserve.project, resource_group, key.domain, occupancy.clock())
    on conflict do nothing;
    continue when not found;

    -- Lock and compare: the key, the agents by id, the quotas.
    select k.user_id, k.domain, k.resource_policy, k.is_active, k.compute_used, k.system_used,
           k.occupied_slots
    into held
    from occupancy.keypair k where k.access_key = reserve.access_key
    for no key update;
    if held.user_id is distinct from key.user_id or held.domain is distinct from key.domain
       or held.resource_policy <> key.resource_policy
    then
      perform occupancy.withdraw(session_id);
      continue;
    end if;
    used := case when system then held.system_used else held.compute_used end;
    fits := held.is_active and coalesce(used < key.max, true)
      and coalesce(kernels_wanted <= key.max_kernels_per_session, true)
      and occupancy.slots_fit(
        total, held.occupied_slots, key.total_resource_slots, key.default_for_unspecified);
    key_occupied := held.occupied_slots;
    if not system then
      key_occupied := occupancy.slots_plus(key_occupied, total);
    end if;
    for i in 1 .. cardinality(agent_ids) loop
      select a.resource_group, a.status = 'ALIVE' and a.schedulable as available,
             a.available_slots, a.occupied_slots
      into agent
      from occupancy.agent a where a.agent_id = agent_ids[i]
      for no key update;
      exit when agent.resource_group is distinct from resource_group;
      fits := fits and agent.available and occupancy.slots_fit(
        agent_slots[i], agent.occupied_slots, agent.available_slots, 'LIMITED');
      agents_occupied[i] := occupancy.slots_plus(agent.occupied_slots, agent_slots[i]);
    end loop;
    if agent.resource_group is distinct from resource_group then
      perform occupancy.withdraw(session_id);
      continue;
    end if;
    if has_quotas then
      fits := occupancy.charge_quotas_if(
        fits, key.user_id, project, resource_group, key.domain, total);
    end if;
    if not fits then
      -- All that decides is locked, but for the policy. Should it have been raised since, nothing
      -- is violated any more, and the next attempt sees it.
      violated := occupancy.violations(access_key, session_type, project, placed);
      perform occupancy.withdraw(session_id);
      continue when violated is null;
      return occupancy.rejection(session_id, access_key, used, key.max, violated);
    end if;

    -- Write.
    update occupancy.keypair k
    set compute_used = k.compute_used + (not system)::integer,
        system_used = k.system_used + system::integer,
        occupied_slots = key_occupied
    where k.access_key = reserve.access_key;
    for i in 1 .. cardinality(agent_ids) loop
      update occupancy.agent a set occupied_slots = agents_occupied[i]
      where a.agent_id = agent_ids[i];
    end loop;
    insert into occupancy.session_concurrency (access_key, session_id, system)
    values (reserve.access_key, reserve.session_id, system);
    perform occupancy.insert_kernels(session_id, placed);
    return row(
      session_id, 'admitted', null, null, access_key, used + 1, key.max, null,
      occupancy.placed_kernels(placed)
    )::occupancy.admission;
  end loop;
  raise exception 'the key or its agents keep changing'
    using errcode = 'serialization_failure', hint = 'repeat the call';
end;
$$;

comment on function occupancy.reserve(
  uuid, text, text, text, occupancy.placement, boolean
) is
  'Internal. A reservation whose arguments are checked. fresh: see enter_ledger.';
revoke all on function occupancy.reserve(
  uuid, text, text, text, occupancy.placement, boolean
) from public;
