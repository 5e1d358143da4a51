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
    ), present as materialized (
      select q.scope, q.scope_id from occupancy.quota q
      where q.scope_id = any (array(select distinct c.scope_id from charged c))
    ), counted as materialized (
      select c.scope, c.scope_id, count(*) as sessions
      from charged c group by c.scope, c.scope_id
    ), placed as materialized (
      select c.scope, c.scope_id, k.slots, count(*) as times
      from charged c
      join unnest(batch.kernels) as k on k.session = c.position
      where (c.scope, c.scope_id) in (select q.scope, q.scope_id from present q)
      group by c.scope, c.scope_id, k.slots
    )
    select row(c.scope, c.scope_id, null, null, c.sessions, null)::occupancy.counter
    from counted c
    union all
    select row(
      p.scope, p.scope_id, (p.entry).key, null, sum(p.times * (p.entry).value::numeric), null
    )::occupancy.counter
    from (select placed.*, jsonb_each_text(placed.slots) as entry from placed) as p
    group by p.scope, p.scope_id, (p.entry).key);
end;
$$;

comment on function occupancy.weigh_quotas(occupancy.batch) is
  'Internal. What sessions ask of every quota together.';
revoke all on function occupancy.weigh_quotas(occupancy.batch) from public;
