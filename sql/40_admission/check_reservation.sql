create or replace function occupancy.check_reservation(
  session_id uuid,
  access_key text,
  session_type text,
  project text
)
returns boolean
language plpgsql immutable parallel safe
as $$
begin
  if session_id is null then
    raise exception 'session_id is missing'
      using errcode = 'OC005', hint = 'pass a UUID that the caller chose, so that a call can be repeated';
  end if;
  return occupancy.check_name(access_key, 'access_key')
    and occupancy.check_word(
      session_type, array['interactive', 'batch', 'inference', 'system'], 'session_type')
    and (project is null or occupancy.check_name(project, 'project'));
end;
$$;

comment on function occupancy.check_reservation(uuid, text, text, text) is
  'Internal. Refuses (OC005) the arguments of a reservation that need no table to be wrong.';
revoke all on function occupancy.check_reservation(uuid, text, text, text) from public;
