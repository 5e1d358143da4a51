create or replace function occupancy.reserve(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  epoch bigint,
  fresh boolean
)
returns occupancy.admission
language plpgsql volatile
-- One function, since each further one that is handed these rows costs as much as a statement.
as $$
declare
  system constant boolean := session_type = 'system';
  key record;
  agent record;
  quotas_fit boolean;
  written integer;
  agent_group text;
  used bigint;
  agents_charged integer;
  fits boolean;
  violated jsonb;
begin
  <<attempts>>
  for attempt in 1 .. 100 loop
    -- Look ahead, without a lock. Id and counts in one statement: read apart, a duplicate at
    -- limit 1 could miss its own row and then find the key full.
    select k.* into key from occupancy.read_key(session_id, access_key, session_type) as k;
    if key.session_status is not null then
      return occupancy.hold(
        occupancy.repeated_reservation(
          session_id, access_key, session_type, project, placed, fresh),
        epoch);
    elsif key.user_id is null then
      perform occupancy.refuse_key(access_key);
    end if;
    agent_group := null;
    fits := (key.max_kernels_per_session is null
             or cardinality(placed.kernel_ids) <= key.max_kernels_per_session)
      and (key.total_resource_slots is null
           or occupancy.slots_fit(placed.total, key.occupied_slots, key.total_resource_slots,
                                  key.default_for_unspecified));
    for i in 1 .. cardinality(placed.agent_ids) loop
      select a.resource_group, a.status = 'ALIVE' and a.schedulable and occupancy.slots_fit(
               placed.agent_slots[i], a.occupied_slots, a.available_slots, 'LIMITED') as fits
      into agent
      from occupancy.agent a where a.agent_id = placed.agent_ids[i];
      if not found or agent_group <> agent.resource_group then
        perform occupancy.refuse_agents(placed.agent_ids);
        -- Registered or moved in between.
        continue attempts;
      end if;
      agent_group := agent.resource_group;
      fits := fits and agent.fits;
    end loop;
    -- Who cannot be admitted locks no row and writes nothing; at a full key not even the gate.
    if fresh and (not key.is_active or key.used >= key.max) then
      return occupancy.key_rejection(
        session_id, access_key, session_type, cardinality(placed.kernel_ids),
        key.max_kernels_per_session, key.is_active, key.used, key.max);
    end if;
    fresh := occupancy.enter_ledger();
    quotas_fit := null;
    if exists (select from occupancy.quota) then
      select case when q.present then q.fit end into quotas_fit
      from occupancy.quotas_ahead(
        session_type, key.user_id, project, agent_group, key.domain, placed.total) as q;
    end if;
    if fresh and not (fits and coalesce(quotas_fit, true)) then
      violated := occupancy.violations_ahead(
        session_id, access_key, session_type, project, placed);
      if violated is not null then
        return occupancy.rejection(session_id, access_key, key.used, key.max, violated);
      end if;
    end if;

    -- Claim the id: duplicates wait here for each other, and not on a row that everybody needs.
    insert into occupancy.session (
      session_id, status, access_key, session_type, user_id, project, resource_group, domain,
      created_at, holder_epoch)
    values (
      reserve.session_id, 'RUNNING', reserve.access_key, reserve.session_type, key.user_id,
      reserve.project, agent_group, key.domain, occupancy.clock(), epoch)
    on conflict do nothing;
    continue when not found;

    -- Charge whoever has room: the key, the agents by id, the quotas. What was seen of them is
    -- compared again, with what each row says once it is locked.
    agents_charged := 0;
    update occupancy.keypair k
    set compute_used = k.compute_used + (not system)::integer,
        system_used = k.system_used + system::integer,
        occupied_slots = case when system then k.occupied_slots
                              else occupancy.slots_plus(k.occupied_slots, placed.total) end
    where k.access_key = reserve.access_key
      and k.is_active and k.user_id = key.user_id and k.domain is not distinct from key.domain
      and k.resource_policy = key.resource_policy
      and (key.max is null or case when system then k.system_used else k.compute_used end < key.max)
      and (key.total_resource_slots is null
           or occupancy.slots_fit(placed.total, k.occupied_slots, key.total_resource_slots,
                                  key.default_for_unspecified))
    returning case when system then k.system_used else k.compute_used end into used;
    fits := found and coalesce(
      cardinality(placed.kernel_ids) <= key.max_kernels_per_session, true);
    for i in 1 .. cardinality(placed.agent_ids) loop
      exit when not fits;
      update occupancy.agent a
      set occupied_slots = occupancy.slots_plus(a.occupied_slots, placed.agent_slots[i])
      where a.agent_id = placed.agent_ids[i] and a.resource_group = agent_group
        and a.status = 'ALIVE' and a.schedulable
        and occupancy.slots_fit(
          placed.agent_slots[i], a.occupied_slots, a.available_slots, 'LIMITED');
      fits := found;
      agents_charged := agents_charged + found::integer;
    end loop;
    if fits and quotas_fit is not null then
      fits := occupancy.charge_quotas_if(
        fits, key.user_id, project, agent_group, key.domain, placed.total);
    end if;
    if not fits then
      perform occupancy.take_back(session_id, access_key, system, placed, used, agents_charged);
      -- What an old snapshot shows full may be free by now: locking it then fails with 40001.
      if not fresh then
        perform occupancy.lock_for_one(
          access_key, placed.agent_ids, key.user_id, project, agent_group, key.domain);
      end if;
      violated := occupancy.violations(access_key, session_type, project, placed);
      -- The key, its limits or an agent have changed in between.
      continue when violated is null;
      select k.* into key from occupancy.read_key(session_id, access_key, session_type) as k;
      return occupancy.rejection(session_id, access_key, key.used, key.max, violated);
    end if;

    insert into occupancy.session_concurrency (access_key, session_id, system)
    values (reserve.access_key, reserve.session_id, system);
    if cardinality(placed.kernel_ids) = 1 then
      insert into occupancy.kernel (
        kernel_id, session_id, position, id_generated, agent_id, requested_slots)
      values (
        placed.kernel_ids[1], reserve.session_id, 1, placed.id_generated[1], placed.agents[1],
        placed.slots[1])
      on conflict do nothing;
    else
      insert into occupancy.kernel (
        kernel_id, session_id, position, id_generated, agent_id, requested_slots)
      select n.kernel_id, reserve.session_id, n.position::integer, n.id_generated, n.agent, n.slots
      from unnest(placed.kernel_ids, placed.id_generated, placed.agents, placed.slots)
           with ordinality as n (kernel_id, id_generated, agent, slots, position)
      order by n.kernel_id
      on conflict do nothing;
    end if;
    get diagnostics written = row_count;
    if written < cardinality(placed.kernel_ids) then
      raise exception 'a kernel id belongs to another session'
        using errcode = 'OC006', detail = session_id::text,
              hint = 'give every kernel an id of its own';
    end if;
    return row(
      session_id, 'admitted', null, null, access_key, used, key.max, null,
      occupancy.placed_kernels(placed)
    )::occupancy.admission;
  end loop;
  raise exception 'the key or its agents keep changing'
    using errcode = 'serialization_failure', hint = 'repeat the call';
end;
$$;

comment on function occupancy.reserve(
  uuid, text, text, text, occupancy.placement, bigint, boolean
) is
  'Internal. A reservation whose arguments are checked. epoch: of its holder, or NULL. fresh: '
  'whether statements see fresh snapshots. OC006.';
revoke all on function occupancy.reserve(
  uuid, text, text, text, occupancy.placement, bigint, boolean
) from public;
