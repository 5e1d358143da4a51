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
  -- One expression for what is right; the checks that know the words only for what is wrong.
  if session_id is not null
     and length(access_key) between 1 and 256
     and session_type in ('interactive', 'batch', 'inference', 'system')
     and (project is null or length(project) between 1 and 256)
  then
    return true;
  end if;
  return occupancy.check_id(session_id, 'session_id')
    and occupancy.check_name(access_key, 'access_key')
    and occupancy.check_word(
      session_type, array['interactive', 'batch', 'inference', 'system'], 'session_type')
    and occupancy.check_name(project, 'project');
end;
$$;

comment on function occupancy.check_reservation(uuid, text, text, text) is
  'Internal. Refuses (OC005) the arguments of a reservation that need no table to be wrong.';
revoke all on function occupancy.check_reservation(uuid, text, text, text) from public;
