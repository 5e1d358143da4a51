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
    ), asked as materialized (
      select p.access_key, (p.entry).key as slot, sum(p.times * (p.entry).value::numeric) as amount
      from (select placed.*, jsonb_each_text(placed.slots) as entry from placed) as p
      group by p.access_key, (p.entry).key
    ), held as materialized (
      select k.* from occupancy.keypair k
      where k.access_key = any (array(select distinct c.access_key from class c))
    ), policy as materialized (
      select p.* from occupancy.resource_policy p
      where p.name = any (array(select distinct h.resource_policy from held h))
    )
    select row('key_inactive', h.access_key, null, 0, 1, 0)::occupancy.counter
    from held h where not h.is_active
    union all
    select row(
      'kernels_per_session', h.access_key, null, 0, max(c.kernels), p.max_kernels_per_session
    )::occupancy.counter
    from class c
    join held h on h.access_key = c.access_key
    join policy p on p.name = h.resource_policy
    where c.kernels > p.max_kernels_per_session
    group by h.access_key, p.max_kernels_per_session
    union all
    select row(
      case when c.system then 'system' else 'keypair' end, c.access_key, null,
      case when c.system then h.system_used else h.compute_used end, c.sessions,
      case when c.system then p.max_concurrent_system_sessions else p.max_concurrent_sessions end
    )::occupancy.counter
    from class c
    join held h on h.access_key = c.access_key
    join policy p on p.name = h.resource_policy
    union all
    select row(
      'keypair', h.access_key, a.slot, coalesce((h.occupied_slots ->> a.slot)::numeric, 0),
      a.amount, occupancy.slot_limit(p.total_resource_slots, a.slot, p.default_for_unspecified)
    )::occupancy.counter
    from asked a
    join held h on h.access_key = a.access_key
    join policy p on p.name = h.resource_policy);
end;
$$;

comment on function occupancy.weigh_keys(occupancy.batch) is
  'Internal. What sessions ask of every key together, and what their keys forbid. The keys are '
  'locked.';
revoke all on function occupancy.weigh_keys(occupancy.batch) from public;
