create or replace function occupancy.sum_placement(
  kernel_ids uuid[],
  id_generated boolean[],
  agents text[],
  slots jsonb[]
)
returns occupancy.placement
language plpgsql immutable parallel safe
as $$
declare
  repeated uuid;
  agent_ids text[];
  agent_slots jsonb[];
  total jsonb;
begin
  select k.id into repeated
  from unnest(kernel_ids) as k (id)
  group by k.id having count(*) > 1
  limit 1;
  if found then
    raise exception 'a kernel id is given twice'
      using errcode = 'OC005', detail = repeated::text,
            hint = 'give every kernel its own id, or none to have one generated';
  end if;

  select array_agg(per_agent.agent order by per_agent.agent collate "C"),
         array_agg(per_agent.slots order by per_agent.agent collate "C"),
         occupancy.slots_sum(per_agent.slots)
  into agent_ids, agent_slots, total
  from (
    select k.agent, occupancy.slots_sum(k.slots) as slots
    from unnest(agents, slots) as k (agent, slots)
    group by k.agent
  ) as per_agent;
  return row(kernel_ids, id_generated, agents, slots, agent_ids, agent_slots, total)
    ::occupancy.placement;
end;
$$;

comment on function occupancy.sum_placement(uuid[], boolean[], text[], jsonb[]) is
  'Internal. Fills in what several kernels ask for together, per agent and in all, and refuses '
  '(OC005) a kernel id that is given twice.';
revoke all on function occupancy.sum_placement(uuid[], boolean[], text[], jsonb[]) from public;
