create or replace function occupancy.check_designated(kernels jsonb, resource_group text)
returns boolean
language plpgsql stable
as $$
declare
  odd record;
begin
  select k.agent, a.resource_group into odd
  from jsonb_to_recordset(kernels) as k (agent text)
  left join occupancy.agent a on a.agent_id = k.agent
  where k.agent is not null and a.resource_group is distinct from check_designated.resource_group
  order by k.agent collate "C"
  limit 1;
  if not found then
    return true;
  elsif odd.resource_group is null then
    raise exception 'unknown agent'
      using errcode = 'OC003', detail = odd.agent, hint = 'register it with occupancy.put_agent';
  end if;
  raise exception 'the agent is in another resource group'
    using errcode = 'OC005',
          detail = format('%s is in %s, not in %s', odd.agent, odd.resource_group, resource_group),
          hint = 'pass its group, or leave the agent out';
end;
$$;

comment on function occupancy.check_designated(jsonb, text) is
  'Internal. Refuses designated agents that nobody registered (OC003) or that are in another '
  'resource group (OC005).';
revoke all on function occupancy.check_designated(jsonb, text) from public;
