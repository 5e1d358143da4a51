create or replace function occupancy.parse_uuid(value jsonb, argument text)
returns uuid
language plpgsql immutable parallel safe
as $$
declare
  -- Taken out once: is_uuid looks at it several times.
  written constant text := value #>> '{}';
begin
  if jsonb_typeof(value) = 'string' and occupancy.is_uuid(written) then
    return written::uuid;
  end if;
  raise exception '% is not a UUID', argument
    using errcode = 'OC005', detail = coalesce(left(value::text, 100), 'NULL'),
          hint = 'pass a string such as "0193e1a2-7c61-7b0e-9f5b-3d9f6a1c2e44"';
end;
$$;

comment on function occupancy.parse_uuid(jsonb, text) is
  'Internal. Reads a UUID out of JSON; OC005 for anything else.';
revoke all on function occupancy.parse_uuid(jsonb, text) from public;
