create or replace function occupancy.batch_demand(
  requests occupancy.request[],
  positions bigint[] default null
)
returns setof occupancy.demand
language sql stable
as $$
  with asked as (
    select r.access_key, r.session_type = 'system' as system, r.project, r.placed,
           k.user_id, k.domain, a.resource_group
    from unnest(requests) with ordinality as r (
      session_id, access_key, session_type, project, placed, refusal, position)
    join occupancy.keypair k on k.access_key = r.access_key
    join occupancy.agent a on a.agent_id = (r.placed).agent_ids[1]
    where positions is null or r.position = any (positions)
  ),
  charged as (
    select 'keypair' as kind, a.access_key as id, (a.placed).total as slots
    from asked a where not a.system
    union all
    select q.scope, q.scope_id, (a.placed).total
    from asked a
    cross join lateral (values
      ('user', a.user_id), ('project', a.project),
      ('resource_group', a.resource_group), ('domain', a.domain)
    ) as scopes (scope, scope_id)
    join occupancy.quota q on q.scope_id = scopes.scope_id and q.scope = scopes.scope
    where not a.system
  )
  select c.kind, c.id, null, count(*)::numeric from charged c group by c.kind, c.id
  union all
  select 'system', a.access_key, null, count(*)::numeric
  from asked a where a.system group by a.access_key
  union all
  select s.kind, s.id, e.slot, trim_scale(sum(e.amount::numeric))
  from (
    select c.kind, c.id, c.slots from charged c
    union all
    select 'agent', w.agent_id, w.slots
    from asked a, unnest((a.placed).agent_ids, (a.placed).agent_slots) as w (agent_id, slots)
  ) as s
  cross join lateral jsonb_each_text(s.slots) as e (slot, amount)
  group by s.kind, s.id, e.slot;
$$;

comment on function occupancy.batch_demand(occupancy.request[], bigint[]) is
  'Internal. What the requests of a batch, or those at the positions, ask of every counter '
  'together.';
revoke all on function occupancy.batch_demand(occupancy.request[], bigint[]) from public;
