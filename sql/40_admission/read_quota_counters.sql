create or replace function occupancy.read_quota_counters(asked occupancy.counter[])
returns occupancy.counter[]
language plpgsql volatile
set enable_nestloop = off
as $$
begin
  return array(
    with counter as materialized (
      select a.* from unnest(asked) as a
      where a.kind in ('user', 'project', 'resource_group', 'domain')
    ), held as materialized (
      select q.* from occupancy.quota q
      where q.scope_id = any (array(select distinct c.id from counter c))
    )
    select row(
      c.kind, c.id, c.slot,
      case when c.slot is null then h.used
           else coalesce((h.occupied_slots ->> c.slot)::numeric, 0) end,
      c.asked,
      case when c.slot is null then h.max_concurrent_sessions
           else occupancy.slot_limit(
             h.total_resource_slots, c.slot, h.default_for_unspecified) end
    )::occupancy.counter
    from counter c join held h on h.scope = c.kind and h.scope_id = c.id);
end;
$$;

comment on function occupancy.read_quota_counters(occupancy.counter[]) is
  'Internal. read_counters for the counters of quotas; leaves out what no quota limits.';
revoke all on function occupancy.read_quota_counters(occupancy.counter[]) from public;
