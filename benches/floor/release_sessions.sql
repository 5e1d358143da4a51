-- What a batch of releases cannot do without, of sessions whose keys, kernels, agents and slots
-- are known: see floor.reserve_sessions.
create function floor.release_sessions(
  session_ids uuid[],
  access_keys text[],
  kernel_ids uuid[],
  agent_ids text[],
  slots jsonb[]
)
returns setof occupancy.session_outcome
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  moment constant timestamptz := clock_timestamp();
begin
  perform from occupancy.agent a
  where a.agent_id = any (agent_ids)
  order by a.agent_id for no key update;
  update occupancy.session s set status = 'TERMINATED', ended_at = moment
  where s.session_id = any (session_ids);
  delete from occupancy.session_concurrency c where c.session_id = any (session_ids);
  update occupancy.kernel k set ended_at = moment
  where k.kernel_id = any (kernel_ids);
  update occupancy.keypair k
  set compute_used = k.compute_used - c.sessions,
      occupied_slots = occupancy.slots_minus(k.occupied_slots, c.slots, k.access_key)
  from (
    select n.access_key, max(n.sessions) as sessions,
           jsonb_object_agg(n.slot, trim_scale(n.amount)::text) as slots
    from (
      select i.access_key, s.slot, count(*) as sessions, sum(s.amount::numeric) as amount
      from unnest(access_keys, slots) as i (access_key, slots)
      cross join lateral jsonb_each_text(i.slots) as s (slot, amount)
      group by i.access_key, s.slot
    ) as n
    group by n.access_key
  ) as c
  where k.access_key = c.access_key;
  update occupancy.agent a
  set occupied_slots = occupancy.slots_minus(a.occupied_slots, c.slots, a.agent_id)
  from (
    select n.agent_id, jsonb_object_agg(n.slot, trim_scale(n.amount)::text) as slots
    from (
      select i.agent_id, s.slot, sum(s.amount::numeric) as amount
      from unnest(agent_ids, slots) as i (agent_id, slots)
      cross join lateral jsonb_each_text(i.slots) as s (slot, amount)
      group by i.agent_id, s.slot
    ) as n
    group by n.agent_id
  ) as c
  where a.agent_id = c.agent_id;

  return query
    select n.session_id, 'released' from unnest(session_ids) as n (session_id);
end;
$$;
