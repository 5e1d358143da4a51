create or replace function occupancy.recalc_agent(agent_id text)
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean :=
    occupancy.check_name(agent_id, 'agent_id') and occupancy.require_fresh_snapshots();
begin
  -- An agent that somebody deleted by hand may have left kernels that need mending.
  if not exists (
    select from occupancy.agent a where a.agent_id = recalc_agent.agent_id
    union all
    select from occupancy.kernel k
    where k.agent_id = recalc_agent.agent_id and k.ended_at is null
  ) then
    raise exception 'unknown agent'
      using errcode = 'OC003', detail = agent_id, hint = 'register it with occupancy.put_agent';
  end if;
  return query select c.* from occupancy.recalc_agents(array[agent_id]) as c;
end;
$$;

comment on function occupancy.recalc_agent(text) is
  'Mends one agent: ends kernels whose session does not live, sets occupied_slots from the live '
  'ones. A row per correction; none = all was right. Safe while others reserve and release. OC003, '
  'OC005, OC008.';
revoke all on function occupancy.recalc_agent(text) from public;
grant execute on function occupancy.recalc_agent(text) to occupancy_admin;
