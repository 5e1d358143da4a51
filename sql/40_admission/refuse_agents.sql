create or replace function occupancy.refuse_agents(agent_ids text[])
returns void
language plpgsql stable
as $$
declare
  unknown text;
  groups text;
  number_of_groups bigint;
begin
  select string_agg(wanted.agent_id, ', ') filter (where a.agent_id is null),
         string_agg(distinct a.resource_group, ', '), count(distinct a.resource_group)
  into unknown, groups, number_of_groups
  from unnest(agent_ids) as wanted (agent_id)
  left join occupancy.agent a on a.agent_id = wanted.agent_id;
  if unknown is not null then
    raise exception 'unknown agent'
      using errcode = 'OC003', detail = left(unknown, 1000),
            hint = 'register it with occupancy.put_agent';
  end if;
  if number_of_groups > 1 then
    raise exception 'the agents of a session are of two resource groups'
      using errcode = 'OC005', detail = left(groups, 1000),
            hint = 'place all kernels on agents of one group';
  end if;
end;
$$;

comment on function occupancy.refuse_agents(text[]) is
  'Internal. Refuses agents of which one is unknown (OC003), or that are of two groups (OC005); '
  'returns if neither is so any more.';
revoke all on function occupancy.refuse_agents(text[]) from public;
