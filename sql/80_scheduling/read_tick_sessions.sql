create or replace function occupancy.read_tick_sessions(policy text, held uuid[])
returns occupancy.tick_sessions
language sql stable
as $$
  with looked as materialized (
    select h.n, q.session_id, q.access_key, s.session_type = 'system' as system, s.project, q.priority,
           q.total_slots, q.agent_id,
           case when q.cluster_mode = 'multi-node' then q.kernels end as spread,
           coalesce(q.starts_at > occupancy.clock(), false)
             or not k.is_active
             or (p.max_kernels_per_session is not null
                 and jsonb_array_length(q.kernels) > p.max_kernels_per_session)
             or (q.dependencies <> '{}' and occupancy.unmet_dependencies(q.session_id) is not null)
             or (q.kernels @> '[{"generated": false}]' and occupancy.kernels_taken(q.kernels))
             as blocked
    from unnest(held) with ordinality as h (session_id, n)
    join occupancy.queued_session q on q.session_id = h.session_id
    join occupancy.session s on s.session_id = h.session_id
    join occupancy.keypair k on k.access_key = q.access_key
    join occupancy.resource_policy p on p.name = k.resource_policy
  ),
  owned as materialized (
    select l.*,
           dense_rank() over (order by l.access_key)::integer as key,
           dense_rank() over (order by l.access_key, l.system, l.project nulls first)::integer as owner
    from looked l
  ),
  wanted as (
    select l.n, 1::bigint as part, true as is_total, l.total_slots as slots, l.agent_id as agent
    from looked l where l.spread is null
    union all
    select l.n, k.position, false, k.kernel -> 'slots', k.kernel ->> 'agent'
    from looked l
    cross join lateral jsonb_array_elements(l.spread) with ordinality as k (kernel, position)
    union all
    select l.n, 0, true, l.total_slots, null
    from looked l where l.spread is not null
  ),
  shaped as materialized (
    select w.*, dense_rank() over (order by w.slots::text collate "C")::integer as shape from wanted w
  )
  select row(
    s.ids, s.priorities, s.blocked, s.keys, s.owners, p.totals, s.first_parts, s.last_parts,
    q.heads, q.nexts, p.shapes, p.agents,
    (select array_agg(d.slots order by d.shape) from (
       select distinct on (d.shape) d.shape, d.slots from shaped d order by d.shape) as d),
    o.keys, o.system, o.projects
  )::occupancy.tick_sessions
  -- One sort for all arrays of a kind, and not one for each.
  from (
    select array_agg(o.session_id) as ids, array_agg(o.priority) as priorities,
           array_agg(o.blocked) as blocked, array_agg(o.key) as keys, array_agg(o.owner) as owners,
           array_agg(o.last_part - o.parts + 1) as first_parts, array_agg(o.last_part) as last_parts
    from (
      select o.*, c.parts, (sum(c.parts) over (order by o.n))::integer as last_part
      from owned o
      cross join lateral (select coalesce(jsonb_array_length(o.spread), 1)) as c (parts)
      order by o.n
    ) as o
  ) as s,
  (
    select array_agg(w.shape) filter (where w.is_total) as totals,
           array_agg(w.shape) filter (where w.part > 0) as shapes,
           array_agg(w.agent) filter (where w.part > 0) as agents
    from (select * from shaped w order by w.n, w.part) as w
  ) as p,
  (
    select array_agg(o.access_key::text) as keys, array_agg(o.system) as system,
           array_agg(o.project::text) as projects
    from (select distinct on (o.owner) o.* from owned o order by o.owner) as o
  ) as o,
  -- Nobody else takes turns by key.
  (
    select array_agg(h.head) as heads, array_agg(h.next::integer) as nexts
    from (
      select o.n, row_number() over by_key = 1 as head, lead(o.n, 1, 0::bigint) over by_key as next
      from owned o
      where policy = 'drf'
      window by_key as (partition by o.priority, o.access_key order by o.n)
      order by o.n
    ) as h
  ) as q;
$$;

comment on function occupancy.read_tick_sessions(text, uuid[]) is
  'Internal. The held sessions, in this order, with what they ask for.';
revoke all on function occupancy.read_tick_sessions(text, uuid[]) from public;
