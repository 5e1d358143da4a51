create or replace function occupancy.refuse_kernels(kernels jsonb, number_of_kernels integer)
returns void
language plpgsql immutable parallel safe
as $$
begin
  if number_of_kernels > 10000 then
    raise exception 'a session has too many kernels'
      using errcode = 'OC005', detail = number_of_kernels::text, hint = 'at most 10000';
  end if;
  raise exception 'kernels is not a non-empty array'
    using errcode = 'OC005', detail = coalesce(left(kernels::text, 100), 'NULL'),
          hint = 'pass an array such as [{"agent": "i-01", "slots": {"cpu": 4}}]';
end;
$$;

comment on function occupancy.refuse_kernels(jsonb, integer) is
  'Internal. Says (OC005) why a kernels argument is none.';
revoke all on function occupancy.refuse_kernels(jsonb, integer) from public;
