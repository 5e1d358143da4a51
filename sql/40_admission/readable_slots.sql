create or replace function occupancy.readable_slots(slots jsonb)
returns jsonb
language plpgsql immutable
as $$
begin
  return occupancy.parse_slots(slots);
exception when sqlstate 'OC001' then
  return null;
end;
$$;

comment on function occupancy.readable_slots(jsonb) is
  'Internal. A resource slots object in stored form, or NULL if it is none.';
revoke all on function occupancy.readable_slots(jsonb) from public;
