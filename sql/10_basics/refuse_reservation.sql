create or replace function occupancy.refuse_reservation(
  session_id uuid,
  access_key text,
  session_type text,
  project text
)
returns boolean
language plpgsql immutable parallel safe
as $$
begin
  return occupancy.check_id(session_id, 'session_id')
    and occupancy.check_name(access_key, 'access_key')
    and occupancy.check_word(
      session_type, array['interactive', 'batch', 'inference', 'system'], 'session_type')
    and occupancy.check_name(project, 'project');
end;
$$;

comment on function occupancy.refuse_reservation(uuid, text, text, text) is
  'Internal. Says (OC005) which argument of a reservation is wrong.';
revoke all on function occupancy.refuse_reservation(uuid, text, text, text) from public;
