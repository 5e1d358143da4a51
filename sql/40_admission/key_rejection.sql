create or replace function occupancy.key_rejection(
  session_id uuid,
  access_key text,
  session_type text,
  number_of_kernels bigint,
  max_kernels_per_session bigint,
  is_active boolean,
  used bigint,
  max bigint
)
returns occupancy.admission
language plpgsql immutable parallel safe
as $$
begin
  return occupancy.rejection(session_id, access_key, used, max, (
    select jsonb_agg(occupancy.violation(f))
    from occupancy.key_facts(
      access_key, session_type, number_of_kernels, max_kernels_per_session, is_active, used, max
    ) as f
    where not f.passed));
end;
$$;

comment on function occupancy.key_rejection(
  uuid, text, text, bigint, bigint, boolean, bigint, bigint
) is
  'Internal. The answer to a reservation that its key alone forbids.';
revoke all on function occupancy.key_rejection(
  uuid, text, text, bigint, bigint, boolean, bigint, bigint
) from public;
