create or replace function occupancy.stored_kernels(session_id uuid)
returns jsonb
language plpgsql stable
as $$
begin
  return (
    select jsonb_agg(
      jsonb_build_object('kernel_id', k.kernel_id, 'agent', k.agent_id, 'slots', k.requested_slots)
      order by k.position)
    from occupancy.kernel k
    where k.session_id = stored_kernels.session_id
  );
end;
$$;

comment on function occupancy.stored_kernels(uuid) is
  'Internal. The kernels of a session as its first answer listed them.';
revoke all on function occupancy.stored_kernels(uuid) from public;
