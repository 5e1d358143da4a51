create or replace function occupancy.key_rejection(
  session_id uuid,
  access_key text,
  session_type text,
  number_of_kernels bigint,
  key occupancy.key_context
)
returns occupancy.admission
language plpgsql immutable parallel safe
as $$
begin
  return occupancy.rejection(session_id, access_key, key.used, key.max, (
    select jsonb_agg(occupancy.violation(f))
    from occupancy.key_facts(
      access_key, session_type, number_of_kernels, key.max_kernels_per_session,
      key.is_active, key.used, key.max) as f
    where not f.passed));
end;
$$;

comment on function occupancy.key_rejection(
  uuid, text, text, bigint, occupancy.key_context
) is
  'Internal. The answer to a reservation that its key alone forbids.';
revoke all on function occupancy.key_rejection(
  uuid, text, text, bigint, occupancy.key_context
) from public;
