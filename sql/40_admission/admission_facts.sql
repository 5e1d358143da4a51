create or replace function occupancy.admission_facts(
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement
)
returns setof occupancy.fact
language sql stable
as $$
  with owner as (
    select k.*, p.max_concurrent_sessions, p.max_concurrent_system_sessions,
           p.max_kernels_per_session, p.total_resource_slots, p.default_for_unspecified,
           admission_facts.session_type = 'system' as system
    from occupancy.keypair k
    join occupancy.resource_policy p on p.name = k.resource_policy
    where k.access_key = admission_facts.access_key
  ),
  agents as (
    select a.*, wanted.slots
    from unnest((placed).agent_ids, (placed).agent_slots) as wanted (agent_id, slots)
    join occupancy.agent a on a.agent_id = wanted.agent_id
  ),
  quotas as (
    select q.*, charged.position
    from owner o
    cross join lateral (values
      (5, 'user', o.user_id),
      (6, 'project', admission_facts.project),
      (7, 'resource_group', (select min(a.resource_group) from agents a)),
      (8, 'domain', o.domain)
    ) as charged (position, scope, scope_id)
    join occupancy.quota q on q.scope = charged.scope and q.scope_id = charged.scope_id
    where not o.system
  ),
  -- Everything that has slots and a capacity, with what is asked of it.
  capacities as (
    select 4 as position, 'keypair_quota' as code, 'keypair' as scope, o.access_key as scope_id,
           o.occupied_slots as used, (placed).total as requested,
           o.total_resource_slots as capacity, o.default_for_unspecified as unspecified
    from owner o
    where not o.system
    union all
    select q.position, q.scope || '_quota', q.scope, q.scope_id,
           q.occupied_slots, (placed).total, q.total_resource_slots, q.default_for_unspecified
    from quotas q
    union all
    select 10, 'agent_capacity', 'agent', a.agent_id,
           a.occupied_slots, a.slots, a.available_slots, 'LIMITED'
    from agents a
  ),
  facts as (
    select f.*
    from owner o
    cross join lateral occupancy.key_facts(
      o.access_key, session_type, cardinality((placed).kernel_ids), o.max_kernels_per_session,
      o.is_active, case when o.system then o.system_used else o.compute_used end,
      case when o.system then o.max_concurrent_system_sessions
           else o.max_concurrent_sessions end) as f
    union all
    select q.position, q.scope || '_quota', q.scope, q.scope_id, null,
           q.used, 1, q.max_concurrent_sessions,
           coalesce(q.used + 1 <= q.max_concurrent_sessions, true)
    from quotas q
    union all
    select 9, 'agent_unavailable', 'agent', a.agent_id, null,
           null, null, null, a.status = 'ALIVE' and a.schedulable
    from agents a
    union all
    select c.position, c.code, c.scope, c.scope_id, r.slot, n.used, n.requested, n.max,
           coalesce(n.used + n.requested <= n.max, true)
    from capacities c
    cross join lateral jsonb_each_text(c.requested) as r (slot, amount)
    cross join lateral (values (
      coalesce((c.used ->> r.slot)::numeric, 0), r.amount::numeric,
      occupancy.slot_limit(c.capacity, r.slot, c.unspecified)
    )) as n (used, requested, max)
  )
  select f.* from facts f
  order by f.position, f.scope_id collate "C", f.slot collate "C" nulls first;
$$;

comment on function occupancy.admission_facts(
  text, text, text, occupancy.placement
) is
  'Internal. Every comparison that decides an admission, in the order of violations, read in one '
  'snapshot. max NULL is unlimited.';
revoke all on function occupancy.admission_facts(
  text, text, text, occupancy.placement
) from public;
