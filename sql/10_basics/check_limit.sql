create or replace function occupancy.check_limit(value bigint, argument text)
returns boolean
language plpgsql immutable parallel safe
as $$
begin
  if value < 0 then
    raise exception '% is negative', argument
      using errcode = 'OC005', detail = value::text,
            hint = 'pass NULL for unlimited, 0 for none at all';
  end if;
  return true;
end;
$$;

comment on function occupancy.check_limit(bigint, text) is
  'Internal. Refuses (OC005) a negative limit; NULL is unlimited.';
revoke all on function occupancy.check_limit(bigint, text) from public;
