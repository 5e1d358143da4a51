-- What a batch of reservations cannot do without: each table's rows in one statement, one update
-- per key and agent. The agents are locked first, sorted, since two batches must not deadlock.
-- Equal slots are counted before they are taken apart, and amounts summed as numbers, which is
-- cheaper than the aggregate occupancy.slots_sum.
create function floor.reserve_sessions(
  session_ids uuid[],
  access_keys text[],
  user_ids text[],
  resource_group text,
  kernel_ids uuid[],
  agent_ids text[],
  slots jsonb[]
)
returns setof occupancy.admission
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
set jit = off
as $$
begin
  insert into occupancy.session (
    session_id, status, access_key, session_type, user_id, resource_group, created_at)
  select n.session_id, 'RUNNING', n.access_key, 'interactive', n.user_id, resource_group,
         clock_timestamp()
  from unnest(session_ids, access_keys, user_ids) as n (session_id, access_key, user_id);
  insert into occupancy.session_concurrency (access_key, session_id, system)
  select n.access_key, n.session_id, false
  from unnest(session_ids, access_keys) as n (session_id, access_key);
  insert into occupancy.kernel (
    kernel_id, session_id, position, id_generated, agent_id, requested_slots)
  select n.kernel_id, n.session_id, 1, false, n.agent_id, n.slots
  from unnest(session_ids, kernel_ids, agent_ids, slots)
    as n (session_id, kernel_id, agent_id, slots);

  perform from occupancy.agent a
  where a.agent_id = any (agent_ids)
  order by a.agent_id for no key update;
  update occupancy.keypair k
  set compute_used = k.compute_used + c.sessions, occupied_slots = k.occupied_slots || c.slots
  from (
    select n.access_key, max(n.sessions) as sessions,
           jsonb_object_agg(n.slot, trim_scale(
             coalesce((p.occupied_slots ->> n.slot)::numeric, 0) + n.amount)::text) as slots
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
  set occupied_slots = a.occupied_slots || c.slots
  from (
    select n.agent_id,
           jsonb_object_agg(n.slot, trim_scale(
             coalesce((p.occupied_slots ->> n.slot)::numeric, 0) + n.amount)::text) as slots
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
    select n.session_id, 'admitted', null::text, null::text, n.access_key, null::bigint,
           null::bigint, null::jsonb, null::jsonb
    from unnest(session_ids, access_keys) as n (session_id, access_key);
end;
$$;
