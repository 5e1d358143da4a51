create or replace function occupancy.recalc_agents_fullscan()
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.require_fresh_snapshots();
begin
  return query
    select c.* from occupancy.recalc_agents(array(
      select a.agent_id from occupancy.agent a
      union
      select k.agent_id from occupancy.kernel k where k.ended_at is null
    )) as c;
end;
$$;

comment on function occupancy.recalc_agents_fullscan() is
  'recalc_agent for every agent, in one transaction: it scans everything that lives, and '
  'reservations wait meanwhile. A row per correction. OC008.';
revoke all on function occupancy.recalc_agents_fullscan() from public;
grant execute on function occupancy.recalc_agents_fullscan() to occupancy_admin;
