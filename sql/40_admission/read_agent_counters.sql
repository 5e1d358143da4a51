create or replace function occupancy.read_agent_counters(asked occupancy.counter[])
returns occupancy.counter[]
language plpgsql volatile
set enable_nestloop = off
as $$
begin
  return array(
    with counter as materialized (
      select a.* from unnest(asked) as a where a.kind in ('agent', 'agent_unavailable')
    ), held as materialized (
      select a.* from occupancy.agent a
      where a.agent_id = any (array(select distinct c.id from counter c))
    )
    -- There is nothing of what an agent does not name.
    select row(
      c.kind, c.id, c.slot, coalesce((h.occupied_slots ->> c.slot)::numeric, 0), c.asked,
      coalesce((h.available_slots ->> c.slot)::numeric, 0))::occupancy.counter
    from counter c
    join held h on h.agent_id = c.id
    where c.kind = 'agent' or h.status <> 'ALIVE' or not h.schedulable);
end;
$$;

comment on function occupancy.read_agent_counters(occupancy.counter[]) is
  'Internal. read_counters for the counters of agents.';
revoke all on function occupancy.read_agent_counters(occupancy.counter[]) from public;
