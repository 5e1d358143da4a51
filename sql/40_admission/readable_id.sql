create or replace function occupancy.readable_id(value jsonb)
returns uuid
language plpgsql immutable parallel safe
as $$
begin
  return occupancy.parse_uuid(value, 'session_id');
exception when sqlstate 'OC005' then
  return null;
end;
$$;

comment on function occupancy.readable_id(jsonb) is
  'Internal. A UUID out of JSON, or NULL if it is none.';
revoke all on function occupancy.readable_id(jsonb) from public;
