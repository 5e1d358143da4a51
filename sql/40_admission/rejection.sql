create or replace function occupancy.rejection(
  session_id uuid,
  access_key text,
  used bigint,
  max bigint,
  violations jsonb
)
returns occupancy.admission
language plpgsql immutable parallel safe
as $$
begin
  return row(
    session_id, 'rejected', violations -> 0 ->> 'code', violations -> 0 ->> 'message', access_key,
    used, max, violations, null
  )::occupancy.admission;
end;
$$;

comment on function occupancy.rejection(uuid, text, bigint, bigint, jsonb) is
  'Internal. The answer to a reservation that is rejected.';
revoke all on function occupancy.rejection(uuid, text, bigint, bigint, jsonb) from public;
