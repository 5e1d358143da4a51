create or replace function occupancy.insert_placed_kernels(placed_ids uuid[], kernels jsonb[])
returns uuid[]
language plpgsql volatile
as $$
declare
  robbed uuid[];
begin
  with placed as (
    select p.session_id, (k.kernel ->> 'kernel_id')::uuid as kernel_id, k.position::integer,
           (k.kernel ->> 'generated')::boolean as id_generated, k.kernel ->> 'agent' as agent_id,
           k.kernel -> 'slots' as slots
    from unnest(placed_ids, kernels) as p (session_id, kernels)
    cross join lateral jsonb_array_elements(p.kernels) with ordinality as k (kernel, position)
  ), inserted as (
    insert into occupancy.kernel (
      kernel_id, session_id, position, id_generated, agent_id, requested_slots)
    select p.kernel_id, p.session_id, p.position, p.id_generated, p.agent_id, p.slots
    from placed p
    order by p.kernel_id
    on conflict do nothing
    returning kernel_id
  )
  select array_agg(distinct p.session_id) into robbed
  from placed p
  left join inserted i on i.kernel_id = p.kernel_id
  where i.kernel_id is null;
  if robbed is not null then
    raise unique_violation;
  end if;
  return null;
exception when unique_violation then
  return robbed;
end;
$$;

comment on function occupancy.insert_placed_kernels(uuid[], jsonb[]) is
  'Internal. Writes the kernels of the sessions that a tick places, sorted by id, and returns NULL; '
  'or none of them, and returns the sessions of which an id belongs to another one by now. Nothing '
  'else is written inside its savepoint: a row that the transaction has locked and a part of it '
  'updates gets a multixact.';
revoke all on function occupancy.insert_placed_kernels(uuid[], jsonb[]) from public;
