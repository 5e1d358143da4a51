create or replace function occupancy.explain_agent(agent_id text)
returns setof occupancy.holding
language plpgsql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.check_name(agent_id, 'agent_id');
begin
  if not exists (select from occupancy.agent a where a.agent_id = explain_agent.agent_id) then
    raise exception 'unknown agent'
      using errcode = 'OC003', detail = agent_id, hint = 'register it with occupancy.put_agent';
  end if;
  return query
    select s.session_id, s.access_key::text, s.session_type,
           occupancy.session_status(s.status, s.stage), k.kernel_id, k.agent_id::text,
           coalesce(k.settled_slots, k.requested_slots), s.created_at
    from occupancy.kernel k
    join occupancy.session s on s.session_id = k.session_id
    where k.agent_id = explain_agent.agent_id and k.ended_at is null
    order by s.created_at, s.session_id, k.position;
end;
$$;

comment on function occupancy.explain_agent(text) is
  'Who holds an agent: a row per live kernel on it, the oldest session first. OC003, OC005.';
revoke all on function occupancy.explain_agent(text) from public;
grant execute on function occupancy.explain_agent(text) to occupancy_viewer;
