create or replace function occupancy.ended_rejection(
  session_id uuid,
  access_key text,
  used bigint,
  max bigint
)
returns occupancy.admission
language plpgsql immutable parallel safe
as $$
begin
  return occupancy.rejection(
  session_id, access_key, used, max,
  jsonb_build_array(jsonb_build_object(
    'code', 'session_ended', 'scope', 'session', 'scope_id', session_id, 'slot', null,
    'used', null, 'requested', null, 'max', null,
    'message', format('session %s has ended', session_id))));
end;
$$;

comment on function occupancy.ended_rejection(uuid, text, bigint, bigint) is
  'Internal. The answer to a reservation that comes after the end of its session.';
revoke all on function occupancy.ended_rejection(uuid, text, bigint, bigint) from public;
