create or replace function occupancy.sweep_agents(ttl interval)
returns setof occupancy.lost_agent
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  span constant interval := occupancy.check_span(ttl, '1 s', '1000 years', 'ttl');
  silent text[];
begin
  -- A heartbeat that came while its row was waited for is compared again. A row at a time.
  select coalesce(array_agg(locked.agent_id), '{}') into silent
  from (
    select a.agent_id from occupancy.agent a
    where a.status in ('ALIVE', 'RESTARTING') and a.heartbeat_at <= occupancy.clock() - span
    order by a.agent_id
    limit 10000
    for no key update
  ) as locked;
  return query
    update occupancy.agent a set status = 'LOST'
    where a.agent_id = any (silent)
    returning a.agent_id::text, a.heartbeat_at;
end;
$$;

comment on function occupancy.sweep_agents(interval) is
  'Agents that are ALIVE or RESTARTING and whose last heartbeat (put_agent) is older than ttl '
  'become LOST, at most 10,000 a call: a row each. They get no new kernels; what they hold keeps '
  'counting until it is released or evacuate_agent frees it. A heartbeat brings them back. OC005.';
revoke all on function occupancy.sweep_agents(interval) from public;
grant execute on function occupancy.sweep_agents(interval) to occupancy_manager;
