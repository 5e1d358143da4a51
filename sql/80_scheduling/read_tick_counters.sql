create or replace function occupancy.read_tick_counters(
  resource_group text,
  policy text,
  t occupancy.tick_sessions,
  names text[]
)
returns occupancy.tick_counters
language sql stable
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
  with owners as (
    select o.owner, o.system, o.project, k.*, p.max_concurrent_sessions,
           p.max_concurrent_system_sessions, p.total_resource_slots, p.default_for_unspecified
    from unnest(t.owner_keys, t.owner_system, t.owner_projects)
           with ordinality as o (key, system, project, owner)
    join occupancy.keypair k on k.access_key = o.key
    join occupancy.resource_policy p on p.name = k.resource_policy
    where k.access_key = any (t.owner_keys)
  ),
  touched as (
    select o.owner, 1 as place, 'keypair' as scope, o.access_key::text as id, o.system,
           case when o.system then 'system_concurrency_limit' else 'concurrency_limit' end as code,
           case when o.system then o.system_used else o.compute_used end as used,
           case when o.system then o.max_concurrent_system_sessions
                else o.max_concurrent_sessions end as max,
           o.occupied_slots, case when not o.system then o.total_resource_slots end as total,
           o.default_for_unspecified as unspecified
    from owners o
    union all
    select o.owner, charged.place, q.scope::text, q.scope_id::text, false, q.scope || '_quota', q.used,
           q.max_concurrent_sessions, q.occupied_slots, q.total_resource_slots,
           q.default_for_unspecified
    from owners o
    cross join lateral (values
      (2, 'user', o.user_id), (3, 'project', o.project),
      (4, 'resource_group', read_tick_counters.resource_group), (5, 'domain', o.domain)
    ) as charged (place, scope, scope_id)
    join occupancy.quota q on q.scope_id = charged.scope_id and q.scope = charged.scope
    where not o.system
  ),
  numbered as materialized (
    select c.*, dense_rank() over (order by c.place, c.id collate "C", c.system)::integer as counter
    from touched c
  ),
  counters as materialized (
    select distinct on (n.counter) n.* from numbered n order by n.counter
  ),
  slots as (
    select c.counter, s.slot, coalesce((c.occupied_slots ->> s.name)::numeric, 0) as used,
           occupancy.slot_limit(c.total, s.name, c.unspecified) as max
    from counters c
    cross join unnest(names) with ordinality as s (name, slot)
  ),
  -- Nobody else takes turns by shares.
  capacity as materialized (
    select e.slot, sum(e.amount::numeric) as amount
    from occupancy.agent a
    cross join lateral jsonb_each_text(a.available_slots) as e (slot, amount)
    where policy = 'drf' and a.resource_group = read_tick_counters.resource_group
      and a.status = 'ALIVE' and a.schedulable
    group by e.slot
  ),
  shares as (
    select distinct o.access_key, (
      select coalesce(max(round(e.amount::numeric / c.amount, 15)), 0)
      from jsonb_each_text(o.occupied_slots) as e (slot, amount)
      join capacity c on c.slot = e.slot and c.amount > 0) as share
    from owners o
    where policy = 'drf'
  )
  select row(
    (select array_agg(coalesce(n.counter, 0) order by g.owner, p.place)
     from generate_series(1, cardinality(t.owner_keys)) as g (owner)
     cross join generate_series(1, 5) as p (place)
     left join numbered n on n.owner = g.owner and n.place = p.place),
    c.codes, c.scopes, c.ids, c.limited, c.used, c.max,
    coalesce((select array_agg(s.used order by s.counter, s.slot) from slots s), '{}'),
    coalesce((select array_agg(s.max order by s.counter, s.slot) from slots s), '{}'),
    (select array_agg(s.share order by s.access_key) from shares s),
    coalesce((select array_agg(coalesce(a.amount, 0) order by s.slot)
              from unnest(names) with ordinality as s (name, slot)
              left join capacity a on a.slot = s.name), '{}')
  )::occupancy.tick_counters
  from (
    select array_agg(c.code order by c.counter) as codes,
           array_agg(c.scope order by c.counter) as scopes,
           array_agg(c.id order by c.counter) as ids,
           array_agg(c.max is not null or c.total is not null order by c.counter) as limited,
           array_agg(c.used::numeric order by c.counter) as used,
           array_agg(c.max::numeric order by c.counter) as max
    from counters c
  ) as c;
$$;

comment on function occupancy.read_tick_counters(text, text, occupancy.tick_sessions, text[]) is
  'Internal. The counters that the sessions of a tick are compared with, and the shares of their '
  'keys.';
revoke all on function occupancy.read_tick_counters(text, text, occupancy.tick_sessions, text[])
  from public;
