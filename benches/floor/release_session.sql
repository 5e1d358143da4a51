-- What a release cannot do without, of a session whose key, kernel, agent and slots are known.
create function floor.release_session(
  session_id uuid,
  access_key text,
  kernel_id uuid,
  agent_id text,
  slots jsonb
)
returns occupancy.session_outcome
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  moment constant timestamptz := clock_timestamp();
begin
  update occupancy.session s set status = 'TERMINATED', ended_at = moment
  where s.session_id = release_session.session_id;
  delete from occupancy.session_concurrency c where c.session_id = release_session.session_id;
  update occupancy.kernel k set ended_at = moment
  where k.kernel_id = release_session.kernel_id;
  update occupancy.keypair k
  set compute_used = k.compute_used - 1,
      occupied_slots = occupancy.slots_minus(k.occupied_slots, slots, k.access_key)
  where k.access_key = release_session.access_key;
  update occupancy.agent a
  set occupied_slots = occupancy.slots_minus(a.occupied_slots, slots, a.agent_id)
  where a.agent_id = release_session.agent_id;
  return row(session_id, 'released')::occupancy.session_outcome;
end;
$$;
