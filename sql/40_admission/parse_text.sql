create or replace function occupancy.parse_text(element jsonb, field text)
returns text
language plpgsql immutable parallel safe
as $$
begin
  if coalesce(jsonb_typeof(element -> field), 'null') not in ('string', 'null') then
    raise exception '% is not a text', field
      using errcode = 'OC005', detail = left((element -> field)::text, 100),
            hint = 'pass a JSON string';
  end if;
  return element ->> field;
end;
$$;

comment on function occupancy.parse_text(jsonb, text) is
  'Internal. A text out of a JSON object; NULL where it is absent or null, OC005 for another type.';
revoke all on function occupancy.parse_text(jsonb, text) from public;
