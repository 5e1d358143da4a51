create or replace function occupancy.look_ahead(
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  key occupancy.key_context
)
returns occupancy.outlook
language plpgsql volatile
as $$
declare
  agent record;
  resource_group text;
  fits boolean;
  quotas_fit boolean;
begin
  if key.user_id is null then
    raise exception 'unknown access key'
      using errcode = 'OC002', detail = access_key,
            hint = 'register it with occupancy.put_keypair';
  end if;
  fits := occupancy.slots_fit(
    placed.total, key.occupied_slots, key.total_resource_slots, key.default_for_unspecified);
  for i in 1 .. cardinality(placed.agent_ids) loop
    select a.resource_group, a.status, a.schedulable, a.available_slots, a.occupied_slots
    into agent
    from occupancy.agent a where a.agent_id = placed.agent_ids[i];
    if not found then
      raise exception 'unknown agent'
        using errcode = 'OC003', detail = placed.agent_ids[i],
              hint = 'register it with occupancy.put_agent';
    end if;
    if resource_group <> agent.resource_group then
      raise exception 'the agents of a session are of two resource groups'
        using errcode = 'OC005',
              detail = format('%s, %s', resource_group, agent.resource_group),
              hint = 'place all kernels on agents of one group';
    end if;
    resource_group := agent.resource_group;
    fits := fits and agent.status = 'ALIVE' and agent.schedulable and occupancy.slots_fit(
      placed.agent_slots[i], agent.occupied_slots, agent.available_slots, 'LIMITED');
  end loop;
  if session_type <> 'system' then
    select bool_and(
      coalesce(q.used < q.max_concurrent_sessions, true) and occupancy.slots_fit(
        placed.total, q.occupied_slots, q.total_resource_slots, q.default_for_unspecified))
    into quotas_fit
    from occupancy.quota q
    where q.scope_id = any (array[key.user_id, project, resource_group, key.domain])
      and q.scope_id = case q.scope
            when 'user' then key.user_id
            when 'project' then project
            when 'resource_group' then resource_group
            else key.domain
          end;
  end if;
  return row(resource_group, quotas_fit is not null, fits and coalesce(quotas_fit, true))
    ::occupancy.outlook;
end;
$$;

comment on function occupancy.look_ahead(
  text, text, text, occupancy.placement, occupancy.key_context
) is
  'Internal. What is to be expected of a reservation, without a lock. OC002 unknown key, OC003 '
  'unknown agent, OC005 agents of two groups.';
revoke all on function occupancy.look_ahead(
  text, text, text, occupancy.placement, occupancy.key_context
) from public;
