create or replace function occupancy.repetition(
  session_id uuid,
  access_key text,
  same boolean,
  kernels jsonb
)
returns occupancy.admission
language sql immutable parallel safe
return case when same
  then row(session_id, 'already_admitted', null, null, access_key, null, null, null, kernels)
         ::occupancy.admission
  else occupancy.refusal(
    session_id, access_key, 'OC006', 'the session id lives with another content')
end;

comment on function occupancy.repetition(uuid, text, boolean, jsonb) is
  'Internal. The answer to an element of a batch whose session lives already, with the same '
  'content or another.';
revoke all on function occupancy.repetition(uuid, text, boolean, jsonb) from public;
