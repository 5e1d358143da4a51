create or replace function occupancy.weigh_agents(kernels occupancy.asked_kernel[])
returns occupancy.counter[]
language plpgsql volatile
set enable_nestloop = off
as $$
begin
  return array(
    with placed as materialized (
      select k.agent_id, k.slots, count(*) as times
      from unnest(kernels) as k
      group by k.agent_id, k.slots
    ), asked as materialized (
      select p.agent_id, (p.entry).key as slot, sum(p.times * (p.entry).value::numeric) as amount
      from (select placed.*, jsonb_each_text(placed.slots) as entry from placed) as p
      group by p.agent_id, (p.entry).key
    ), held as materialized (
      select a.agent_id, a.available_slots, a.occupied_slots,
             a.status = 'ALIVE' and a.schedulable as available
      from occupancy.agent a
      where a.agent_id = any (array(select distinct p.agent_id from placed p))
    )
    select row('agent_unavailable', h.agent_id, null, 0, 1, 0)::occupancy.counter
    from held h where not h.available
    union all
    select row(
      'agent', h.agent_id, a.slot, coalesce((h.occupied_slots ->> a.slot)::numeric, 0), a.amount,
      coalesce((h.available_slots ->> a.slot)::numeric, 0))::occupancy.counter
    from asked a join held h on h.agent_id = a.agent_id);
end;
$$;

comment on function occupancy.weigh_agents(occupancy.asked_kernel[]) is
  'Internal. What kernels ask of every agent together. The agents are locked.';
revoke all on function occupancy.weigh_agents(occupancy.asked_kernel[]) from public;
