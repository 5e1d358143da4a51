create or replace function occupancy.weigh_agents(kernels occupancy.asked_kernel[])
returns occupancy.counter[]
language plpgsql volatile
as $$
begin
  return array(
    select row('agent_unavailable', k.agent_id, null, null, 1, null)::occupancy.counter
    from unnest(kernels) as k
    group by k.agent_id
    union all
    select row(
      'agent', p.agent_id, (p.entry).key, null, sum(p.times * (p.entry).value::numeric), null
    )::occupancy.counter
    from (
      select g.agent_id, count(*) as times, jsonb_each_text(g.slots) as entry
      from unnest(kernels) as g
      group by g.agent_id, g.slots
    ) as p
    group by p.agent_id, (p.entry).key);
end;
$$;

comment on function occupancy.weigh_agents(occupancy.asked_kernel[]) is
  'Internal. What kernels ask of every agent together.';
revoke all on function occupancy.weigh_agents(occupancy.asked_kernel[]) from public;
