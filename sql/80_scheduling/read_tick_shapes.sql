create or replace function occupancy.read_tick_shapes(shapes jsonb[], selector text)
returns occupancy.tick_shapes
language sql stable
as $$
  with asked as materialized (
    select s.shape, e.slot, e.amount::numeric as amount,
           dense_rank() over (
             order by case e.slot when 'cpu' then 1 when 'mem' then 2 else 0 end,
                      e.slot collate "C")::integer as number
    from unnest(shapes) with ordinality as s (slots, shape)
    cross join lateral jsonb_each_text(s.slots) as e (slot, amount)
  ),
  spread as (
    select a.*, row_number() over (order by a.shape, a.number)::integer as position from asked a
  ),
  kinds as materialized (
    select n.shape, min(s.position) as first, max(s.position) as last,
           -- Roundrobin takes them as they come, whatever is asked for.
           dense_rank() over (order by case when selector <> 'roundrobin'
             then coalesce(array_agg(s.number order by s.number), '{0}') end)::integer as family
    from unnest(shapes) with ordinality as n (slots, shape)
    left join spread s on s.shape = n.shape
    group by n.shape
  ),
  floors as (
    select f.family, n.number, min(a.amount) as least
    from (select distinct k.family from kinds k) as f
    cross join (select distinct a.number from asked a) as n
    left join kinds k on k.family = f.family
    left join asked a on a.shape = k.shape and a.number = n.number
    group by f.family, n.number
  )
  select row(
    coalesce((select array_agg(n.slot order by n.number)
              from (select distinct a.slot, a.number from asked a) as n), '{}'),
    (select array_agg(coalesce(k.first, 1) order by k.shape) from kinds k),
    (select array_agg(coalesce(k.last, 0) order by k.shape) from kinds k),
    coalesce((select array_agg(s.number order by s.position) from spread s), '{}'),
    coalesce((select array_agg(s.amount order by s.position) from spread s), '{}'),
    (select array_agg(k.family order by k.shape) from kinds k),
    coalesce((select array_agg(f.least order by f.family, f.number) from floors f), '{}')
  )::occupancy.tick_shapes;
$$;

comment on function occupancy.read_tick_shapes(jsonb[], text) is
  'Internal. The requests of a tick as numbers.';
revoke all on function occupancy.read_tick_shapes(jsonb[], text) from public;
