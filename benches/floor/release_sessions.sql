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
set jit = off
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
      occupied_slots = k.occupied_slots - coalesce(c.emptied, '{}') || coalesce(c.slots, '{}')
  from (
    select n.access_key, max(n.sessions) as sessions,
           array_agg(n.slot) filter (where (p.occupied_slots ->> n.slot)::numeric = n.amount)
             as emptied,
           jsonb_object_agg(n.slot, trim_scale(
             (p.occupied_slots ->> n.slot)::numeric - n.amount)::text)
             filter (where (p.occupied_slots ->> n.slot)::numeric > n.amount) as slots
    from (
      select i.access_key, (i.entry).key as slot, sum(i.times) as sessions,
             sum(i.times * (i.entry).value::numeric) as amount
      from (
        select g.access_key, count(*) as times, jsonb_each_text(g.slots) as entry
        from unnest(access_keys, slots) as g (access_key, slots)
        group by g.access_key, g.slots
      ) as i
      group by i.access_key, (i.entry).key
    ) as n
    join occupancy.keypair p on p.access_key = n.access_key
    group by n.access_key
  ) as c
  where k.access_key = c.access_key;
  update occupancy.agent a
  set occupied_slots = a.occupied_slots - coalesce(c.emptied, '{}') || coalesce(c.slots, '{}')
  from (
    select n.agent_id,
           array_agg(n.slot) filter (where (p.occupied_slots ->> n.slot)::numeric = n.amount)
             as emptied,
           jsonb_object_agg(n.slot, trim_scale(
             (p.occupied_slots ->> n.slot)::numeric - n.amount)::text)
             filter (where (p.occupied_slots ->> n.slot)::numeric > n.amount) as slots
    from (
      select i.agent_id, (i.entry).key as slot, sum(i.times * (i.entry).value::numeric) as amount
      from (
        select g.agent_id, count(*) as times, jsonb_each_text(g.slots) as entry
        from unnest(agent_ids, slots) as g (agent_id, slots)
        group by g.agent_id, g.slots
      ) as i
      group by i.agent_id, (i.entry).key
    ) as n
    join occupancy.agent p on p.agent_id = n.agent_id
    group by n.agent_id
  ) as c
  where a.agent_id = c.agent_id;

  return query
    select n.session_id, 'released' from unnest(session_ids) as n (session_id);
end;
$$;
