create or replace function occupancy.insert_batch_kernels(kernels occupancy.asked_kernel[])
returns boolean
language plpgsql volatile
as $$
declare
  written bigint;
begin
  insert into occupancy.kernel (
    kernel_id, session_id, position, id_generated, agent_id, requested_slots)
  select k.kernel_id, k.session_id, k.position, k.id_generated, k.agent_id, k.slots
  from unnest(kernels) as k
  order by k.kernel_id
  on conflict do nothing;
  get diagnostics written = row_count;
  if written < cardinality(kernels) then
    raise unique_violation;
  end if;
  return true;
exception when unique_violation then
  return false;
end;
$$;

comment on function occupancy.insert_batch_kernels(occupancy.asked_kernel[]) is
  'Internal. Writes the kernels of a batch, sorted by id, or none and returns false, if one of '
  'their ids is taken. Nothing else is written inside its savepoint: a row that the transaction '
  'has locked and a part of it updates gets a multixact.';
revoke all on function occupancy.insert_batch_kernels(occupancy.asked_kernel[]) from public;
