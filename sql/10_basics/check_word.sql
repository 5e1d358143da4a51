create or replace function occupancy.check_word(value text, words text[], argument text)
returns boolean
language plpgsql immutable parallel safe
as $$
begin
  if value is null or value <> all (words) then
    raise exception 'unknown %', argument
      using errcode = 'OC005', detail = coalesce(left(value, 100), 'NULL'),
            hint = 'one of ' || array_to_string(words, ', ');
  end if;
  return true;
end;
$$;

comment on function occupancy.check_word(text, text[], text) is
  'Internal. Refuses (OC005) a value that is not one of the known words.';
revoke all on function occupancy.check_word(text, text[], text) from public;
