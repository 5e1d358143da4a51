create or replace function occupancy.check_id(value uuid, argument text)
returns boolean
language plpgsql immutable parallel safe
as $$
begin
  if value is null then
    raise exception '% is missing', argument
      using errcode = 'OC005', hint = 'pass a UUID';
  end if;
  return true;
end;
$$;

comment on function occupancy.check_id(uuid, text) is
  'Internal. Refuses (OC005) an id that is NULL.';
revoke all on function occupancy.check_id(uuid, text) from public;
