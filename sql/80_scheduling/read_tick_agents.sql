create or replace function occupancy.read_tick_agents(
  resource_group text,
  selector text,
  last_agent text,
  t occupancy.tick_shapes
)
returns occupancy.tick_agents
language sql stable
as $$
  with agents as materialized (
    select a.agent_id, a.available_slots, a.occupied_slots,
           row_number() over (order by a.agent_id) as agent,
           (select count(*) from jsonb_each_text(a.available_slots) as e (slot, amount)
            where e.amount::numeric > 0) as kinds
    from occupancy.agent a
    where a.resource_group = read_tick_agents.resource_group
      and a.status = 'ALIVE' and a.schedulable
  ),
  amounts as materialized (
    select a.agent, n.slot, coalesce((a.available_slots ->> n.name)::numeric, 0) as available,
           coalesce((a.available_slots ->> n.name)::numeric, 0)
             - coalesce((a.occupied_slots ->> n.name)::numeric, 0) as free
    from agents a
    cross join unnest(t.names) with ordinality as n (name, slot)
  ),
  -- What is worth more outweighs whatever there may be of the rest.
  weights as materialized (
    select f.family, s.slot, s.amount as least,
           ('1e' || 37 * (count(*) over (partition by f.family order by s.slot desc) - 1))::numeric
             * case selector when 'concentrated' then 1 else -1 end as weight
    from (select distinct unnest(t.families) as family) as f
    cross join lateral unnest(t.floors[
      (f.family - 1) * cardinality(t.names) + 1 : f.family * cardinality(t.names)
    ]) with ordinality as s (amount, slot)
    where s.amount is not null
  ),
  ranks as materialized (
    select f.family, a.agent,
           case when selector = 'roundrobin' then a.agent else
             (a.kinds - count(*) filter (where m.available > 0))
               * ('1e' || 37 * count(w.slot))::numeric
             + coalesce(sum(w.weight * case selector when 'legacy' then m.available else m.free end), 0)
           end as rank,
           coalesce(bool_and(m.free >= w.least), true) as has_room
    from (select distinct unnest(t.families) as family) as f
    cross join agents a
    left join weights w on w.family = f.family
    left join amounts m on m.agent = a.agent and m.slot = w.slot
    group by f.family, a.agent, a.kinds
  ),
  moves as (
    select f.family, s.shape,
           coalesce(sum(-w.weight * t.amounts[x.position]), 0) as move
    from (select distinct unnest(t.families) as family) as f
    cross join generate_series(1, cardinality(t.families)) as s (shape)
    left join lateral generate_series(t.first_slots[s.shape], t.last_slots[s.shape]) as x (position)
      on selector in ('concentrated', 'dispersed')
    left join weights w on w.family = f.family and w.slot = t.slots[x.position]
    group by f.family, s.shape
  ),
  ordered as (
    select r.family, r.agent, row_number() over (order by r.family, r.rank, r.agent) as position
    from ranks r where r.has_room or selector = 'roundrobin'
  ),
  bounds as (
    select f.family, coalesce(min(o.position), 1) as first, coalesce(max(o.position), 0) as last
    from (select distinct unnest(t.families) as family) as f
    left join ordered o on o.family = f.family
    group by f.family
  )
  select row(
    coalesce((select array_agg(a.agent_id::text order by a.agent) from agents a), '{}'),
    coalesce((select array_agg(m.free order by m.agent, m.slot) from amounts m), '{}'),
    coalesce((select array_agg(r.rank order by r.family, r.agent) from ranks r), '{}'),
    (select array_agg(m.move order by m.family, m.shape) from moves m),
    coalesce((select array_agg(o.agent::integer order by o.position) from ordered o), '{}'),
    (select array_agg(b.first::integer order by b.family) from bounds b),
    (select array_agg(b.last::integer order by b.family) from bounds b),
    (select count(*)::integer from agents a where a.agent_id <= last_agent)
  )::occupancy.tick_agents;
$$;

comment on function occupancy.read_tick_agents(
  text, text, text, occupancy.tick_shapes
) is
  'Internal. The agents of a group that may be given anything, ranked by the selector for each '
  'family of requests.';
revoke all on function occupancy.read_tick_agents(
  text, text, text, occupancy.tick_shapes
) from public;
