create or replace function occupancy.explain_key(access_key text)
returns setof occupancy.holding
language plpgsql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.check_name(access_key, 'access_key');
begin
  if not exists (select from occupancy.keypair k where k.access_key = explain_key.access_key) then
    perform occupancy.refuse_key(access_key);
  end if;
  return query
    select s.session_id, s.access_key::text, s.session_type,
           occupancy.session_status(s.status, s.stage), k.kernel_id, k.agent_id::text,
           coalesce(k.settled_slots, k.requested_slots), s.created_at
    from occupancy.session s
    join occupancy.kernel k on k.session_id = s.session_id and k.ended_at is null
    where s.access_key = explain_key.access_key and s.ended_at is null
    order by s.created_at, s.session_id, k.position;
end;
$$;

comment on function occupancy.explain_key(text) is
  'Who holds what an access key may have: a row per live kernel of its sessions, the oldest session '
  'first. One that is TERMINATING holds agents only. OC002, OC005.';
revoke all on function occupancy.explain_key(text) from public;
grant execute on function occupancy.explain_key(text) to occupancy_viewer;
