-- floor.reserve_session where a user, a project and a domain have quotas: three rows more, the one
-- that everybody shares last.
create function floor.reserve_session_with_quotas(
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
  where k.access_key = reserve_session_with_quotas.access_key
  returning k.compute_used into used;
  update occupancy.agent a
  set occupied_slots = occupancy.slots_plus(a.occupied_slots, slots)
  where a.agent_id = reserve_session_with_quotas.agent_id;
  update occupancy.quota q
  set used = q.used + 1, occupied_slots = occupancy.slots_plus(q.occupied_slots, slots)
  where q.scope_id = user_id and q.scope = 'user';
  update occupancy.quota q
  set used = q.used + 1, occupied_slots = occupancy.slots_plus(q.occupied_slots, slots)
  where q.scope_id = project and q.scope = 'project';
  update occupancy.quota q
  set used = q.used + 1, occupied_slots = occupancy.slots_plus(q.occupied_slots, slots)
  where q.scope_id = domain and q.scope = 'domain';
  return row(session_id, 'admitted', null, null, access_key, used, null, null, null)
    ::occupancy.admission;
end;
$$;
