create or replace function occupancy.check_batch(sessions jsonb)
returns boolean
language plpgsql immutable parallel safe
as $$
begin
  if sessions is null or jsonb_typeof(sessions) <> 'array' then
    raise exception 'sessions is not an array'
      using errcode = 'OC005', detail = coalesce(left(sessions::text, 100), 'NULL'),
            hint = 'pass an array of objects with the arguments of reserve_session';
  end if;
  if jsonb_array_length(sessions) > 10000 then
    raise exception 'sessions is too long'
      using errcode = 'OC005', detail = jsonb_array_length(sessions)::text,
            hint = 'at most 10000 in a call';
  end if;
  return true;
end;
$$;

comment on function occupancy.check_batch(jsonb) is
  'Internal. Refuses (OC005) what is no array of at most 10,000 elements.';
revoke all on function occupancy.check_batch(jsonb) from public;
