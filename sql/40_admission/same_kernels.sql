create or replace function occupancy.same_kernels(session_id uuid, placed occupancy.placement)
returns boolean
language plpgsql stable
as $$
begin
  return (
    select count(*) = cardinality((placed).kernel_ids)
       and bool_and(
         k.agent_id is not distinct from wanted.agent
         and k.requested_slots = wanted.slots
         and k.id_generated = wanted.id_generated
         and (wanted.id_generated or k.kernel_id = wanted.kernel_id))
    from occupancy.kernel k
    left join unnest(
      (placed).kernel_ids, (placed).id_generated, (placed).agents, (placed).slots
    ) with ordinality as wanted (kernel_id, id_generated, agent, slots, position)
      on wanted.position = k.position
    where k.session_id = same_kernels.session_id
  );
end;
$$;

comment on function occupancy.same_kernels(uuid, occupancy.placement) is
  'Internal. Whether a session was first requested with exactly these kernels: ids or their '
  'absence, agents and slots, in this order.';
revoke all on function occupancy.same_kernels(uuid, occupancy.placement) from public;
