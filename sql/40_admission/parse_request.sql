create or replace function occupancy.parse_request(element jsonb)
returns occupancy.request
language plpgsql volatile
as $$
declare
  fields constant text[] := array['session_id', 'access_key', 'kernels', 'session_type', 'project'];
  session_id constant uuid := occupancy.parse_uuid(element -> 'session_id', 'session_id');
  access_key constant text := occupancy.parse_text(element, 'access_key');
  session_type constant text :=
    case when element ? 'session_type' then occupancy.parse_text(element, 'session_type')
         else 'interactive' end;
  project constant text := occupancy.parse_text(element, 'project');
  checked constant boolean :=
    occupancy.check_reservation(session_id, access_key, session_type, project);
begin
  if element - fields <> '{}' then
    raise exception 'an unknown field'
      using errcode = 'OC005', detail = left((element - fields)::text, 100),
            hint = 'one of ' || array_to_string(fields, ', ');
  end if;
  return row(
    session_id, access_key, session_type, project,
    occupancy.parse_kernels(element -> 'kernels'), null
  )::occupancy.request;
end;
$$;

comment on function occupancy.parse_request(jsonb) is
  'Internal. One element of a batch after the checks of reserve_session''s arguments. OC001, '
  'OC005.';
revoke all on function occupancy.parse_request(jsonb) from public;
