create or replace function occupancy.lock_agents(agent_ids text[])
returns occupancy.agent_group[]
language plpgsql volatile
as $$
declare
  ids constant text[] := array(
    select distinct n.id collate "C" from unnest(agent_ids) as n (id) order by 1);
  held occupancy.agent_group[] := array[]::occupancy.agent_group[];
  first integer := 1;
  last integer := 1;
begin
  while first <= cardinality(ids) loop
    held := held || array(
      select row(a.agent_id, a.resource_group)::occupancy.agent_group
      from occupancy.agent a where a.agent_id = any (ids[first : last])
      order by a.agent_id for no key update);
    first := last + 1;
    last := 2 * last + 1;
  end loop;
  return held;
end;
$$;

comment on function occupancy.lock_agents(text[]) is
  'Internal. Locks agents, as lock_keys does keys, and returns their groups.';
revoke all on function occupancy.lock_agents(text[]) from public;
