create or replace function occupancy.refusal(
  session_id uuid,
  access_key text,
  code text,
  message text
)
returns occupancy.admission
language sql immutable parallel safe
return row(session_id, 'invalid', code, message, access_key, null, null, null, null)
  ::occupancy.admission;

comment on function occupancy.refusal(uuid, text, text, text) is
  'Internal. The answer to an element of a batch that is a mistake of the caller.';
revoke all on function occupancy.refusal(uuid, text, text, text) from public;
