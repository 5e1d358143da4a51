create or replace function occupancy.insert_kernels(
  session_id uuid,
  placed occupancy.placement
)
returns void
language plpgsql volatile
as $$
declare
  written bigint;
begin
  if cardinality(placed.kernel_ids) = 1 then
    insert into occupancy.kernel (
      kernel_id, session_id, position, id_generated, agent_id, requested_slots)
    values (
      placed.kernel_ids[1], insert_kernels.session_id, 1, placed.id_generated[1],
      placed.agents[1], placed.slots[1])
    on conflict do nothing;
  else
    insert into occupancy.kernel (
      kernel_id, session_id, position, id_generated, agent_id, requested_slots)
    select n.kernel_id, insert_kernels.session_id, n.position::integer, n.id_generated, n.agent,
           n.slots
    from unnest(placed.kernel_ids, placed.id_generated, placed.agents, placed.slots)
         with ordinality as n (kernel_id, id_generated, agent, slots, position)
    order by n.kernel_id
    on conflict do nothing;
  end if;
  get diagnostics written = row_count;
  if written < cardinality(placed.kernel_ids) then
    raise exception 'a kernel id belongs to another session'
      using errcode = 'OC006', detail = session_id::text,
            hint = 'give every kernel an id of its own';
  end if;
end;
$$;

comment on function occupancy.insert_kernels(uuid, occupancy.placement) is
  'Internal. Writes the kernels of a session, sorted by id; OC006 if one of them is taken.';
revoke all on function occupancy.insert_kernels(uuid, occupancy.placement) from public;
