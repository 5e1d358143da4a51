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
    occupancy.check_reservation(session_id, access_key, session_type, project)
    and (manager is null and epoch is null
         or occupancy.require_holder(manager, epoch, session_id));
  placed constant occupancy.placement := occupancy.parse_kernels(kernels);
  system constant boolean := session_type = 'system';
  fresh boolean;
  key record;
  -- The last one that was looked at, with what it occupies once this session is charged.
  agent record;
  quotas occupancy.seen_quota[];
  agent_group text;
  fits boolean;
  used bigint;
  agents_charged integer;
  kernels_written integer;
  placed_kernels jsonb;
  violated jsonb;
  answer occupancy.admission;
begin
  -- One function with few expressions: each is made ready anew in every transaction, which costs as
  -- much as to find a row, and a further function costs as much as three of them.
  for attempt in 1 .. 100 loop
    <<admitting>>
    begin
      -- Look ahead, without a lock: who cannot be admitted locks no row and writes nothing, at a
      -- full key not even the gate.
      select k.*,
             case when system then k.occupied_slots
                  when k.used >= k.max then null
                  else occupancy.slots_charged(
                    k.occupied_slots, placed.total, k.total_resource_slots,
                    k.default_for_unspecified)
             end as charged
      into key
      from occupancy.read_key(access_key, system) as k;
      exit admitting when not found or not key.is_active or key.used >= key.max;
      fresh := occupancy.enter_ledger();
      fits := (key.max_kernels_per_session is null
               or cardinality(placed.kernel_ids) <= key.max_kernels_per_session)
        and key.charged is not null;
      for i in 1 .. cardinality(placed.agent_ids) loop
        select a.agent_id, a.xmin as version, a.resource_group,
               case when a.status = 'ALIVE' and a.schedulable
                    then occupancy.slots_charged(
                      a.occupied_slots, placed.agent_slots[i], a.available_slots, 'LIMITED')
               end as charged,
               exists (select from occupancy.quota) as beside_quotas
        into agent
        from occupancy.agent a
        where a.agent_id = placed.agent_ids[i]
          and (agent_group is null or a.resource_group = agent_group);
        exit admitting when not found;
        agent_group := agent.resource_group;
        fits := fits and agent.charged is not null;
      end loop;
      if agent.beside_quotas and not system then
        quotas := array(
          select q
          from occupancy.quotas_ahead(
            key.user_id, project, agent_group, key.domain, placed.total) as q);
        for i in 1 .. cardinality(quotas) loop
          fits := fits and quotas[i].charged is not null;
        end loop;
      end if;
      if not fits then
        violated := occupancy.violations_ahead(
          session_id, access_key, session_type, project, placed);
        exit admitting when violated is null;
        -- What an old snapshot shows full may be free by now: locking it then fails with 40001.
        if not fresh then
          perform occupancy.lock_for_one(
            access_key, placed.agent_ids, key.user_id, project, agent_group, key.domain);
        end if;
        return occupancy.rejection(session_id, access_key, key.used, key.max, violated);
      end if;

      -- Claim the id: duplicates wait here for each other, and not on a row that everybody needs.
      insert into occupancy.session (
        session_id, status, access_key, session_type, user_id, project, resource_group, domain,
        created_at, holder_epoch)
      values (
        reserve_session.session_id, 'RUNNING', reserve_session.access_key,
        reserve_session.session_type, key.user_id, reserve_session.project, agent_group, key.domain,
        occupancy.clock(), epoch)
      on conflict do nothing;
      exit admitting when not found;
      insert into occupancy.session_concurrency (access_key, session_id, system)
      values (reserve_session.access_key, reserve_session.session_id, system);
      -- The answer as well is made before anything is locked that others wait for.
      if cardinality(placed.kernel_ids) = 1 then
        placed_kernels := jsonb_build_array(jsonb_build_object(
          'kernel_id', placed.kernel_ids[1], 'agent', placed.agents[1], 'slots', placed.slots[1]));
      else
        placed_kernels := occupancy.placed_kernels(placed);
      end if;

      -- Charge whoever has room: the key, the agents by id, the quotas. A row in the version that
      -- was seen (xmin: who wrote it) has room, and its sum is known; any other, since somebody was
      -- faster, is compared and added up anew, with what it says once it is locked.
      <<charging>>
      begin
        update occupancy.keypair k
        set compute_used = case when system then k.compute_used else k.compute_used + 1 end,
            system_used = case when system then k.system_used + 1 else k.system_used end,
            occupied_slots = case
              when system then k.occupied_slots
              when k.xmin = key.version then key.charged
              else occupancy.slots_charged(k.occupied_slots, placed.total, key.total_resource_slots,
                                           key.default_for_unspecified) end
        where k.access_key = reserve_session.access_key
          and (k.xmin = key.version
               or k.is_active and k.user_id = key.user_id
               and k.domain is not distinct from key.domain
               and k.resource_policy = key.resource_policy
               and (key.max is null
                    or case when system then k.system_used else k.compute_used end < key.max)
               and (key.total_resource_slots is null
                    or occupancy.slots_charged(
                      k.occupied_slots, placed.total, key.total_resource_slots,
                      key.default_for_unspecified) is not null))
        returning case when system then k.system_used else k.compute_used end into used;
        exit charging when not found;
        for i in 1 .. cardinality(placed.agent_ids) loop
          -- Who charges several agents leaves them with one xmin: it tells versions of one row apart.
          update occupancy.agent a
          set occupied_slots = case
                when a.xmin = agent.version and a.agent_id = agent.agent_id then agent.charged
                else occupancy.slots_charged(
                  a.occupied_slots, placed.agent_slots[i], a.available_slots, 'LIMITED') end
          where a.agent_id = placed.agent_ids[i]
            and (a.xmin = agent.version and a.agent_id = agent.agent_id
                 or a.resource_group = agent_group and a.status = 'ALIVE' and a.schedulable
                 and occupancy.slots_charged(
                   a.occupied_slots, placed.agent_slots[i], a.available_slots, 'LIMITED')
                   is not null);
          exit charging when not found;
          agents_charged := i;
        end loop;
        if agent.beside_quotas and not system then
          exit charging when not occupancy.charge_seen_quotas(quotas, placed.total);
        end if;

        if cardinality(placed.kernel_ids) = 1 then
          insert into occupancy.kernel (
            kernel_id, session_id, position, id_generated, agent_id, requested_slots)
          values (
            placed.kernel_ids[1], reserve_session.session_id, 1, placed.id_generated[1],
            placed.agents[1], placed.slots[1])
          on conflict do nothing;
        else
          insert into occupancy.kernel (
            kernel_id, session_id, position, id_generated, agent_id, requested_slots)
          select n.kernel_id, reserve_session.session_id, n.position::integer, n.id_generated,
                 n.agent, n.slots
          from unnest(placed.kernel_ids, placed.id_generated, placed.agents, placed.slots)
               with ordinality as n (kernel_id, id_generated, agent, slots, position)
          order by n.kernel_id
          on conflict do nothing;
        end if;
        get diagnostics kernels_written = row_count;
        if kernels_written < cardinality(placed.kernel_ids) then
          raise exception 'a kernel id belongs to another session'
            using errcode = 'OC006', detail = session_id::text,
                  hint = 'give every kernel an id of its own';
        end if;
        return row(
          session_id, 'admitted', null, null, access_key, used, key.max, null, placed_kernels
        )::occupancy.admission;
      end;

      -- Somebody was faster.
      perform occupancy.take_back(
        session_id, access_key, system, placed, used, coalesce(agents_charged, 0));
      violated := occupancy.violations(access_key, session_type, project, placed);
      if violated is not null then
        select k.* into key from occupancy.read_key(access_key, system) as k;
        return occupancy.rejection(session_id, access_key, key.used, key.max, violated);
      end if;
    end;

    -- Its id is taken, it has no slot, or what it names has changed in between.
    answer := occupancy.turn_away(
      session_id, access_key, session_type, project, placed, epoch, key.is_active, key.used, key.max,
      key.max_kernels_per_session);
    if answer.outcome is not null then
      return answer;
    end if;
    agent_group := null;
    agents_charged := null;
  end loop;
  raise exception 'the key or its agents keep changing'
    using errcode = 'serialization_failure', hint = 'repeat the call';
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
