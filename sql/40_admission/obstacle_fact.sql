create or replace function occupancy.obstacle_fact(obstacle occupancy.counter, requested numeric)
returns occupancy.fact
language sql immutable parallel safe
return row(
  case obstacle.kind
    when 'key_inactive' then 1
    when 'kernels_per_session' then 2
    when 'system' then 3
    when 'keypair' then case when obstacle.slot is null then 3 else 4 end
    when 'user' then 5
    when 'project' then 6
    when 'resource_group' then 7
    when 'domain' then 8
    when 'agent_unavailable' then 9
    when 'agent' then 10
    else 11
  end,
  case obstacle.kind
    when 'system' then 'system_concurrency_limit'
    when 'keypair' then
      case when obstacle.slot is null then 'concurrency_limit' else 'keypair_quota' end
    when 'agent' then 'agent_capacity'
    when 'key_inactive' then obstacle.kind
    when 'kernels_per_session' then obstacle.kind
    when 'agent_unavailable' then obstacle.kind
    else obstacle.kind || '_quota'
  end,
  case
    when obstacle.kind in ('key_inactive', 'kernels_per_session', 'system') then 'keypair'
    when obstacle.kind = 'agent_unavailable' then 'agent'
    else obstacle.kind
  end,
  obstacle.id, obstacle.slot,
  case when obstacle.kind not in ('key_inactive', 'agent_unavailable') then obstacle.used end,
  case when obstacle.kind not in ('key_inactive', 'agent_unavailable') then requested end,
  case when obstacle.kind not in ('key_inactive', 'agent_unavailable') then obstacle.max end,
  false
)::occupancy.fact;

comment on function occupancy.obstacle_fact(occupancy.counter, numeric) is
  'Internal. The failed comparison of what is requested with a counter, as admission_facts has it; '
  'position 11 is a kernel id that is taken.';
revoke all on function occupancy.obstacle_fact(occupancy.counter, numeric) from public;
