create or replace function occupancy.read_tick_sessions(queue occupancy.tick_queue)
returns occupancy.tick_sessions
language sql stable
-- What is joined here are arrays, of which the planner does not know how long they are.
set enable_nestloop = off
as $$
  with alike as materialized (
    -- What follows is done once for those of a key who ask for the same.
    select p.access_key, p.system, p.project, (queue).ids[min(f.turn)] as example,
           bool_or(f.gated) as gated, array_agg(f.turn) as turns
    from unnest((queue).ids, (queue).requests, (queue).gated)
      with ordinality as f (session_id, request, gated, turn)
    join unnest((queue).pending) as p on p.session_id = f.session_id
    group by p.access_key, p.system, p.project, f.request
  ),
  requests as materialized (
    select a.*, (row_number() over ())::integer as request, q.total_slots, q.agent_id,
           case when q.cluster_mode = 'multi-node' then q.kernels end as spread,
           case when q.cluster_mode = 'multi-node' then jsonb_array_length(q.kernels) else 1 end
             as parts,
           not k.is_active
             or coalesce(jsonb_array_length(q.kernels) > p.max_kernels_per_session, false) as refused,
           dense_rank() over (order by a.access_key collate "C")::integer as key,
           dense_rank() over (
             order by a.access_key collate "C", a.system, a.project collate "C" nulls first
           )::integer as owner
    from alike a
    join occupancy.queued_session q on q.session_id = a.example
    join occupancy.keypair k on k.access_key = a.access_key
    join occupancy.resource_policy p on p.name = k.resource_policy
    where q.session_id = any (array(select a.example from alike a))
  ),
  wanted as (
    select r.request, 1::bigint as part, true as is_total, r.total_slots as slots,
           r.agent_id as agent
    from requests r where r.spread is null
    union all
    select r.request, k.position, false, k.kernel -> 'slots', k.kernel ->> 'agent'
    from requests r
    cross join lateral jsonb_array_elements(r.spread) with ordinality as k (kernel, position)
    union all
    select r.request, 0, true, r.total_slots, null
    from requests r where r.spread is not null
  ),
  shaped as materialized (
    select w.*, dense_rank() over (order by w.slots::text collate "C")::integer as shape from wanted w
  )
  select row(
    (queue).ids, (queue).priorities, s.blocked, s.passed, (queue).reasons, s.requests,
    r.keys, r.owners, p.totals, r.first_parts, r.last_parts, p.shapes, p.agents,
    (select array_agg(d.slots order by d.shape) from (
       select distinct on (d.shape) d.shape, d.slots from shaped d order by d.shape) as d),
    o.keys, o.system, o.projects
  )::occupancy.tick_sessions
  -- One sort for all arrays of a kind, and not one for each.
  from (
    select array_agg(s.request) as requests, array_agg(s.passed) as passed,
           array_agg(s.refused or case when s.gated then exists (
             select from occupancy.queued_session q
             where q.session_id = (queue).ids[s.turn]
               and (q.starts_at > occupancy.clock()
                    or occupancy.unmet_dependencies(q.session_id) is not null
                    or q.kernels @> '[{"generated": false}]'
                       and occupancy.kernels_taken(q.kernels))) else false end) as blocked
    from (
      select unnest(r.turns) as turn, r.request, r.gated, r.refused, false as passed
      from requests r
      union all
      select f.turn, null, false, false, true
      from unnest((queue).ids) with ordinality as f (session_id, turn)
      where (select sum(cardinality(r.turns)) from requests r) < cardinality((queue).ids)
        and not exists (
          select from (select unnest(r.turns) as turn from requests r) as r where r.turn = f.turn)
      order by turn
    ) as s
  ) as s,
  (
    select array_agg(r.key) as keys, array_agg(r.owner) as owners,
           array_agg(r.last_part - r.parts + 1) as first_parts, array_agg(r.last_part) as last_parts
    from (
      select r.*, (sum(r.parts) over (order by r.request))::integer as last_part
      from requests r
      order by r.request
    ) as r
  ) as r,
  (
    select array_agg(w.shape) filter (where w.is_total) as totals,
           array_agg(w.shape) filter (where w.part > 0) as shapes,
           array_agg(w.agent) filter (where w.part > 0) as agents
    from (select * from shaped w order by w.request, w.part) as w
  ) as p,
  (
    select array_agg(o.access_key::text) as keys, array_agg(o.system) as system,
           array_agg(o.project::text) as projects
    from (select distinct on (r.owner) r.* from requests r order by r.owner) as o
  ) as o;
$$;

comment on function occupancy.read_tick_sessions(occupancy.tick_queue) is
  'Internal. The sessions of a tick, in order, with what they ask for.';
revoke all on function occupancy.read_tick_sessions(occupancy.tick_queue) from public;
