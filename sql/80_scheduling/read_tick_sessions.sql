create or replace function occupancy.read_tick_sessions(
  resource_group text,
  policy text,
  tries integer,
  held uuid[]
)
returns occupancy.tick_sessions
language sql stable
as $$
  with looked as materialized (
    select q.*, s.session_type, s.project, row_number() over () as n
    from (
      select o.* from occupancy.queued_in_order(resource_group, policy, tries) as o
      where o.session_id = any (held)
    ) as q
    join occupancy.session s on s.session_id = q.session_id
  ),
  told as (
    select l.n, l.session_id, l.access_key, l.session_type, l.project, l.priority, l.cluster_mode,
           coalesce(l.starts_at > occupancy.clock(), false)
             or not k.is_active
             or coalesce(jsonb_array_length(l.kernels) > p.max_kernels_per_session, false)
             or (l.dependencies <> '{}' and occupancy.unmet_dependencies(l.session_id) is not null)
             or (l.kernels @> '[{"generated": false}]' and occupancy.kernels_taken(l.kernels))
             as blocked,
           dense_rank() over (order by l.access_key) as key,
           dense_rank() over (
             order by l.access_key, l.session_type = 'system', l.project nulls first) as owner,
           row_number() over (partition by l.priority, l.access_key order by l.n) = 1 as head,
           lead(l.n, 1, 0::bigint) over (partition by l.priority, l.access_key order by l.n) as next
    from looked l
    join occupancy.keypair k on k.access_key = l.access_key
    join occupancy.resource_policy p on p.name = k.resource_policy
  ),
  wanted as (
    select l.n, 1::bigint as part, l.total_slots as slots, l.agent_id as agent
    from looked l where l.cluster_mode = 'single-node'
    union all
    select l.n, k.position, k.kernel -> 'slots', k.kernel ->> 'agent'
    from looked l
    cross join lateral jsonb_array_elements(l.kernels) with ordinality as k (kernel, position)
    where l.cluster_mode = 'multi-node'
    union all
    select l.n, 0, l.total_slots, null
    from looked l where l.cluster_mode = 'multi-node'
  ),
  ranked as materialized (
    select w.*, dense_rank() over (order by w.slots::text collate "C") as shape from wanted w
  ),
  numbered as (
    select r.n, r.part, r.shape, r.agent, row_number() over (order by r.n, r.part) as position
    from ranked r where r.part > 0
  ),
  per_session as (
    select p.n, min(p.position) as first_part, max(p.position) as last_part
    from numbered p group by p.n
  ),
  total as (
    select distinct on (r.n) r.n, r.shape from ranked r order by r.n, r.part
  ),
  owner as (
    select distinct on (t.owner) t.owner, t.access_key, t.session_type = 'system' as system, t.project
    from told t order by t.owner
  )
  select row(
    t.ids, t.priorities, t.blocked, t.keys, t.owners,
    (select array_agg(o.shape::integer order by o.n) from total o),
    (select array_agg(s.first_part::integer order by s.n) from per_session s),
    (select array_agg(s.last_part::integer order by s.n) from per_session s),
    t.heads, t.nexts, p.shapes, p.agents,
    (select array_agg(d.slots order by d.shape) from (
       select distinct on (r.shape) r.shape, r.slots from ranked r order by r.shape) as d),
    (select array_agg(o.access_key::text order by o.owner) from owner o),
    (select array_agg(o.system order by o.owner) from owner o),
    (select array_agg(o.project::text order by o.owner) from owner o)
  )::occupancy.tick_sessions
  -- One sort, and not one for every array.
  from (
    select array_agg(t.session_id) as ids, array_agg(t.priority) as priorities,
           array_agg(t.blocked) as blocked, array_agg(t.key::integer) as keys,
           array_agg(t.owner::integer) as owners, array_agg(t.head) as heads,
           array_agg(t.next::integer) as nexts
    from (select * from told order by n) as t
  ) as t,
  (
    select array_agg(p.shape::integer) as shapes, array_agg(p.agent) as agents
    from (select * from numbered order by position) as p
  ) as p;
$$;

comment on function occupancy.read_tick_sessions(text, text, integer, uuid[]) is
  'Internal. The held sessions in the order of the tick, with what they ask for.';
revoke all on function occupancy.read_tick_sessions(text, text, integer, uuid[]) from public;
