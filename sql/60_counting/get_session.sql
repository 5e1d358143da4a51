create or replace function occupancy.get_session(session_id uuid)
returns setof occupancy.session_detail
language plpgsql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.check_id(session_id, 'session_id');
begin
  return query
    select s.session_id, occupancy.session_status(s.status, s.stage), s.access_key::text,
           s.session_type, s.user_id::text, s.project::text, s.resource_group::text, s.domain::text,
           (select jsonb_agg(jsonb_build_object(
               'kernel_id', k.kernel_id, 'agent', k.agent_id,
               'slots', coalesce(k.settled_slots, k.requested_slots), 'ended_at', k.ended_at
             ) order by k.position)
            from occupancy.kernel k where k.session_id = s.session_id),
           s.created_at, s.terminating_at, s.ended_at
    from occupancy.session s
    where s.session_id = get_session.session_id;
end;
$$;

comment on function occupancy.get_session(uuid) is
  'A session that lives or is remembered, with its kernels; no row if there is none. OC005.';
revoke all on function occupancy.get_session(uuid) from public;
grant execute on function occupancy.get_session(uuid) to occupancy_viewer;
