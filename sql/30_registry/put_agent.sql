create or replace function occupancy.put_agent(
  agent_id text,
  available_slots jsonb default null,
  resource_group text default null,
  status text default null,
  schedulable boolean default null
)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  capacity jsonb;
begin
  perform occupancy.check_name(agent_id, 'agent_id');
  if resource_group is not null then
    perform occupancy.check_name(resource_group, 'resource_group');
  end if;
  status := coalesce(status, 'ALIVE');
  perform occupancy.check_word(
    status, array['ALIVE', 'LOST', 'RESTARTING', 'TERMINATED'], 'status');
  if available_slots is not null then
    capacity := occupancy.parse_slots(available_slots, 'available_slots');
  end if;

  loop
    update occupancy.agent a set
      available_slots = coalesce(capacity, a.available_slots),
      resource_group = coalesce(put_agent.resource_group, a.resource_group),
      status = put_agent.status,
      schedulable = coalesce(put_agent.schedulable, a.schedulable),
      heartbeat_at = occupancy.clock()
    where a.agent_id = put_agent.agent_id;
    if found then
      return row('replaced')::occupancy.registration;
    end if;
    if capacity is null then
      raise exception 'a new agent needs available_slots'
        using errcode = 'OC005', detail = agent_id,
              hint = 'pass its capacity, such as {"cpu": 64, "mem": "256g"}';
    end if;
    insert into occupancy.agent (
      agent_id, resource_group, status, schedulable, available_slots, heartbeat_at
    )
    values (
      put_agent.agent_id, coalesce(put_agent.resource_group, 'default'), put_agent.status,
      coalesce(put_agent.schedulable, true), capacity, occupancy.clock()
    )
    on conflict do nothing;
    if found then
      return row('created')::occupancy.registration;
    end if;
  end loop;
end;
$$;

comment on function occupancy.put_agent(text, jsonb, text, text, boolean) is
  'Registers an agent or records its heartbeat. NULL keeps the stored available_slots, '
  'resource_group and schedulable (new: required, default, true); a call without status means '
  'ALIVE. Status: ALIVE, LOST, RESTARTING, TERMINATED. Never touches occupied_slots; capacity may '
  'shrink below them, which evicts nobody. Answers created or replaced. OC001, OC005.';
revoke all on function occupancy.put_agent(text, jsonb, text, text, boolean) from public;
grant execute on function occupancy.put_agent(text, jsonb, text, text, boolean)
  to occupancy_manager;
