create or replace function occupancy.drop_agent(agent_id text)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
begin
  perform occupancy.check_name(agent_id, 'agent_id');
  perform from occupancy.agent a where a.agent_id = drop_agent.agent_id for update;
  if not found then
    return row('unknown')::occupancy.registration;
  end if;
  if exists (
    select from occupancy.kernel k where k.agent_id = drop_agent.agent_id and k.ended_at is null
  ) then
    return row('in_use')::occupancy.registration;
  end if;
  delete from occupancy.agent a where a.agent_id = drop_agent.agent_id;
  return row('dropped')::occupancy.registration;
end;
$$;

comment on function occupancy.drop_agent(text) is
  'Removes an agent: dropped, in_use (it has kernels that live) or unknown. OC005.';
revoke all on function occupancy.drop_agent(text) from public;
grant execute on function occupancy.drop_agent(text) to occupancy_admin;
