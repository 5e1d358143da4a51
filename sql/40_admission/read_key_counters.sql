create or replace function occupancy.read_key_counters(asked occupancy.counter[])
returns occupancy.counter[]
language plpgsql volatile
set enable_nestloop = off
as $$
begin
  return array(
    with counter as materialized (
      select a.* from unnest(asked) as a
      where a.kind in ('keypair', 'system', 'kernels_per_session')
    ), held as materialized (
      select k.* from occupancy.keypair k
      where k.access_key = any (array(select distinct c.id from counter c))
    ), policy as materialized (
      select p.* from occupancy.resource_policy p
      where p.name = any (array(select distinct h.resource_policy from held h))
    )
    select row('key_inactive', h.access_key, null, 0, 1, 0)::occupancy.counter
    from held h where not h.is_active
    union all
    select row(
      c.kind, c.id, c.slot,
      case when c.slot is not null then coalesce((h.occupied_slots ->> c.slot)::numeric, 0)
           when c.kind = 'keypair' then h.compute_used
           when c.kind = 'system' then h.system_used
           else 0 end,
      c.asked,
      case when c.slot is not null then
             occupancy.slot_limit(p.total_resource_slots, c.slot, p.default_for_unspecified)
           when c.kind = 'keypair' then p.max_concurrent_sessions
           when c.kind = 'system' then p.max_concurrent_system_sessions
           else p.max_kernels_per_session end
    )::occupancy.counter
    from counter c
    join held h on h.access_key = c.id
    join policy p on p.name = h.resource_policy
    where c.kind <> 'kernels_per_session' or c.asked > p.max_kernels_per_session);
end;
$$;

comment on function occupancy.read_key_counters(occupancy.counter[]) is
  'Internal. read_counters for the counters of keys.';
revoke all on function occupancy.read_key_counters(occupancy.counter[]) from public;
