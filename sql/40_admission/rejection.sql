create or replace function occupancy.rejection(
  session_id uuid,
  access_key text,
  used bigint,
  max bigint,
  violations jsonb
)
returns occupancy.admission
language sql immutable parallel safe
return row(
  session_id, 'rejected', violations -> 0 ->> 'code', violations -> 0 ->> 'message', access_key,
  used, max, violations, null
)::occupancy.admission;

comment on function occupancy.rejection(uuid, text, bigint, bigint, jsonb) is
  'Internal. The answer to a reservation that is rejected.';
revoke all on function occupancy.rejection(uuid, text, bigint, bigint, jsonb) from public;
