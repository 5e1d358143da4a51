create or replace function occupancy.placed_kernels(placed occupancy.placement)
returns jsonb
language sql stable parallel safe
return (
  select jsonb_agg(
    jsonb_build_object('kernel_id', k.kernel_id, 'agent', k.agent, 'slots', k.slots)
    order by k.position)
  from unnest((placed).kernel_ids, (placed).agents, (placed).slots)
       with ordinality as k (kernel_id, agent, slots, position)
);

comment on function occupancy.placed_kernels(occupancy.placement) is
  'Internal. The kernels of an admitted session as its answer lists them.';
revoke all on function occupancy.placed_kernels(occupancy.placement) from public;
