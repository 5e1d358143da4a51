create or replace function occupancy.recalc_agents_by_session(session_id uuid)
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean :=
    occupancy.check_id(session_id, 'session_id') and occupancy.require_fresh_snapshots();
begin
  if not exists (
    select from occupancy.session s where s.session_id = recalc_agents_by_session.session_id
  ) then
    raise exception 'unknown session'
      using errcode = 'OC004', detail = session_id::text,
            hint = 'pass a session that lives or is remembered';
  end if;
  return query
    select c.* from occupancy.recalc_agents(array(
      select k.agent_id from occupancy.kernel k
      where k.session_id = recalc_agents_by_session.session_id
    )) as c;
end;
$$;

comment on function occupancy.recalc_agents_by_session(uuid) is
  'recalc_agent for every agent that a session has or had kernels on. A row per correction. OC004, '
  'OC005, OC008.';
revoke all on function occupancy.recalc_agents_by_session(uuid) from public;
grant execute on function occupancy.recalc_agents_by_session(uuid) to occupancy_admin;
