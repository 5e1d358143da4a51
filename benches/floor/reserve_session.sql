-- What a reservation cannot do without: its five rows. The amounts are parsed already, the user,
-- the group and the domain are known, and nothing is compared. The rows that others wait for come
-- last. As one statement with CTEs it takes the same time.
create function floor.reserve_session(
  session_id uuid,
  access_key text,
  user_id text,
  project text,
  resource_group text,
  domain text,
  kernel_id uuid,
  agent_id text,
  slots jsonb
)
returns occupancy.admission
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  used bigint;
begin
  insert into occupancy.session (
    session_id, status, access_key, session_type, user_id, project, resource_group, domain,
    created_at)
  values (
    session_id, 'RUNNING', access_key, 'interactive', user_id, project, resource_group, domain,
    clock_timestamp());
  insert into occupancy.session_concurrency (access_key, session_id, system)
  values (access_key, session_id, false);
  insert into occupancy.kernel (
    kernel_id, session_id, position, id_generated, agent_id, requested_slots)
  values (kernel_id, session_id, 1, false, agent_id, slots);
  update occupancy.keypair k
  set compute_used = k.compute_used + 1,
      occupied_slots = occupancy.slots_plus(k.occupied_slots, slots)
  where k.access_key = reserve_session.access_key
  returning k.compute_used into used;
  update occupancy.agent a
  set occupied_slots = occupancy.slots_plus(a.occupied_slots, slots)
  where a.agent_id = reserve_session.agent_id;
  return row(session_id, 'admitted', null, null, access_key, used, null, null, null)
    ::occupancy.admission;
end;
$$;
