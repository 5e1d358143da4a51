create or replace function occupancy.weigh_keys(batch occupancy.batch)
returns occupancy.counter[]
language plpgsql volatile
set enable_nestloop = off
as $$
begin
  return array(
    with class as materialized (
      select s.access_key, s.session_type = 'system' as system, count(*) as sessions,
             max(s.kernel_count) as kernels
      from unnest(batch.sessions) as s
      group by s.access_key, s.session_type = 'system'
    ), placed as materialized (
      select s.access_key, k.slots, count(*) as times
      from unnest(batch.sessions) as s
      join unnest(batch.kernels) as k on k.session = s.position
      where s.session_type <> 'system'
      group by s.access_key, k.slots
    )
    select row(
      case when c.system then 'system' else 'keypair' end, c.access_key, null, null, c.sessions, null
    )::occupancy.counter
    from class c
    union all
    select row('kernels_per_session', c.access_key, null, null, max(c.kernels), null)::occupancy.counter
    from class c
    group by c.access_key
    union all
    select row(
      'keypair', p.access_key, (p.entry).key, null, sum(p.times * (p.entry).value::numeric), null
    )::occupancy.counter
    from (select placed.*, jsonb_each_text(placed.slots) as entry from placed) as p
    group by p.access_key, (p.entry).key);
end;
$$;

comment on function occupancy.weigh_keys(occupancy.batch) is
  'Internal. What sessions ask of every key together.';
revoke all on function occupancy.weigh_keys(occupancy.batch) from public;
