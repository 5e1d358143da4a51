create or replace function occupancy.contested(demands occupancy.demand[])
returns setof occupancy.demand
language sql stable
as $$
  select d.kind, d.id, d.slot, d.amount
  from unnest(demands) as d
  join occupancy.agent a on d.kind = 'agent' and a.agent_id = d.id
  where coalesce((a.occupied_slots ->> d.slot)::numeric, 0) + d.amount
        > occupancy.slot_limit(a.available_slots, d.slot, 'LIMITED')
  union all
  select d.kind, d.id, d.slot, d.amount
  from unnest(demands) as d
  join occupancy.keypair k on d.kind in ('keypair', 'system') and k.access_key = d.id
  join occupancy.resource_policy p on p.name = k.resource_policy
  where case
    when d.kind = 'system' then k.system_used + d.amount > p.max_concurrent_system_sessions
    when d.slot is null then k.compute_used + d.amount > p.max_concurrent_sessions
    else coalesce((k.occupied_slots ->> d.slot)::numeric, 0) + d.amount
         > occupancy.slot_limit(p.total_resource_slots, d.slot, p.default_for_unspecified)
  end
  union all
  select d.kind, d.id, d.slot, d.amount
  from unnest(demands) as d
  join occupancy.quota q on q.scope = d.kind and q.scope_id = d.id
  where case
    when d.slot is null then q.used + d.amount > q.max_concurrent_sessions
    else coalesce((q.occupied_slots ->> d.slot)::numeric, 0) + d.amount
         > occupancy.slot_limit(q.total_resource_slots, d.slot, q.default_for_unspecified)
  end;
$$;

comment on function occupancy.contested(occupancy.demand[]) is
  'Internal. The counters that have no room for all that is asked of them.';
revoke all on function occupancy.contested(occupancy.demand[]) from public;
