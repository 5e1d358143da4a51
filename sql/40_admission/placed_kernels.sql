create or replace function occupancy.placed_kernels(placed occupancy.placement)
returns jsonb
language plpgsql immutable parallel safe
as $$
begin
  if cardinality(placed.kernel_ids) = 1 then
    return jsonb_build_array(jsonb_build_object(
      'kernel_id', placed.kernel_ids[1], 'agent', placed.agents[1], 'slots', placed.slots[1]));
  end if;
  return (
    select jsonb_agg(
      jsonb_build_object('kernel_id', k.kernel_id, 'agent', k.agent, 'slots', k.slots)
      order by k.position)
    from unnest(placed.kernel_ids, placed.agents, placed.slots)
         with ordinality as k (kernel_id, agent, slots, position)
  );
end;
$$;

comment on function occupancy.placed_kernels(occupancy.placement) is
  'Internal. The kernels of an admitted session as its answer lists them.';
revoke all on function occupancy.placed_kernels(occupancy.placement) from public;
