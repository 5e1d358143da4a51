create or replace function occupancy.check_name(value text, argument text)
returns boolean
language plpgsql immutable parallel safe
as $$
begin
  if value is null or value = '' then
    raise exception '% is missing', argument
      using errcode = 'OC005', hint = 'pass a text of 1 to 256 characters';
  end if;
  if length(value) > 256 then
    raise exception '% is too long', argument
      using errcode = 'OC005',
            detail = format('%s characters, beginning with %s', length(value), left(value, 40)),
            hint = 'pass a text of 1 to 256 characters';
  end if;
  return true;
end;
$$;

comment on function occupancy.check_name(text, text) is
  'Internal. Refuses (OC005) a name that is NULL, empty or longer than 256 characters.';
revoke all on function occupancy.check_name(text, text) from public;
