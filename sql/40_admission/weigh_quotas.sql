create or replace function occupancy.weigh_quotas(batch occupancy.batch)
returns occupancy.counter[]
language plpgsql volatile
set enable_nestloop = off
as $$
begin
  return array(
    with charged as materialized (
      select s.position, c.scope, c.scope_id
      from unnest(batch.sessions) as s
      cross join lateral (values
        ('user', s.user_id), ('project', s.project),
        ('resource_group', s.resource_group), ('domain', s.domain)
      ) as c (scope, scope_id)
      where s.session_type <> 'system'
    ), held as materialized (
      select q.* from occupancy.quota q
      where q.scope_id = any (array(select distinct c.scope_id from charged c))
    ), counted as materialized (
      select c.scope, c.scope_id, count(*) as sessions
      from charged c group by c.scope, c.scope_id
    ), placed as materialized (
      select c.scope, c.scope_id, k.slots, count(*) as times
      from charged c
      join unnest(batch.kernels) as k on k.session = c.position
      where (c.scope, c.scope_id) in (select h.scope, h.scope_id from held h)
      group by c.scope, c.scope_id, k.slots
    ), asked as materialized (
      select p.scope, p.scope_id, (p.entry).key as slot, sum(p.times * (p.entry).value::numeric) as amount
      from (select placed.*, jsonb_each_text(placed.slots) as entry from placed) as p
      group by p.scope, p.scope_id, (p.entry).key
    )
    select row(
      h.scope, h.scope_id, null, h.used, c.sessions, h.max_concurrent_sessions)::occupancy.counter
    from counted c join held h on h.scope = c.scope and h.scope_id = c.scope_id
    union all
    select row(
      h.scope, h.scope_id, a.slot, coalesce((h.occupied_slots ->> a.slot)::numeric, 0), a.amount,
      occupancy.slot_limit(h.total_resource_slots, a.slot, h.default_for_unspecified)
    )::occupancy.counter
    from asked a join held h on h.scope = a.scope and h.scope_id = a.scope_id);
end;
$$;

comment on function occupancy.weigh_quotas(occupancy.batch) is
  'Internal. What sessions ask of every quota together. The quotas are locked.';
revoke all on function occupancy.weigh_quotas(occupancy.batch) from public;
