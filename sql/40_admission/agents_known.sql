create or replace function occupancy.agents_known(agent_ids text[])
returns boolean
language plpgsql stable
as $$
declare
  groups text[];
begin
  -- Most sessions have one agent, and an aggregate costs as much as three of these.
  if cardinality(agent_ids) = 1 then
    return exists (select from occupancy.agent a where a.agent_id = agent_ids[1]);
  end if;
  groups := array(
    select a.resource_group from occupancy.agent a where a.agent_id = any (agent_ids));
  return cardinality(groups) = cardinality(agent_ids) and groups[1] = all (groups);
end;
$$;

comment on function occupancy.agents_known(text[]) is
  'Internal. Whether all of these agents are registered, in one resource group.';
revoke all on function occupancy.agents_known(text[]) from public;
