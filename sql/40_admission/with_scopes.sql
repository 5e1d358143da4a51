create or replace function occupancy.with_scopes(
  sessions occupancy.asked_session[],
  kernels occupancy.asked_kernel[],
  owners occupancy.key_owner[],
  groups occupancy.agent_group[]
)
returns occupancy.asked_session[]
language plpgsql immutable
set enable_nestloop = off
as $$
begin
  return array(
    with astray as materialized (
      select k.session, bool_or(g.agent_id is null) as unknown
      from unnest(kernels) as k
      left join unnest(groups) as g on g.agent_id = k.agent_id
      group by k.session
      having bool_or(g.agent_id is null) or min(g.resource_group) <> max(g.resource_group)
    )
    select row(
      s.position, s.session_id, s.access_key, s.session_type, s.project, o.user_id,
      g.resource_group, o.domain, s.kernel_count, s.agent_id, s.answer,
      case when o.access_key is null then 'OC002'
           when a.unknown then 'OC003'
           when not a.unknown then 'OC005' end,
      case when o.access_key is null then 'unknown access key'
           when a.unknown then 'unknown agent'
           when not a.unknown then 'the agents of a session are of two resource groups' end
    )::occupancy.asked_session
    from unnest(sessions) as s
    left join unnest(owners) as o on o.access_key = s.access_key
    left join unnest(groups) as g on g.agent_id = s.agent_id
    left join astray a on a.session = s.position);
end;
$$;

comment on function occupancy.with_scopes(
  occupancy.asked_session[], occupancy.asked_kernel[], occupancy.key_owner[],
  occupancy.agent_group[]
) is
  'Internal. Sessions with the scopes that they are charged to, by the keys and agents that are '
  'there; refused are those of unknown keys (OC002) and agents (OC003), and of two groups (OC005).';
revoke all on function occupancy.with_scopes(
  occupancy.asked_session[], occupancy.asked_kernel[], occupancy.key_owner[],
  occupancy.agent_group[]
) from public;
