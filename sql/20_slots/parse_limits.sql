create or replace function occupancy.parse_limits(slots jsonb, subject text)
returns jsonb
language plpgsql immutable parallel safe
as $$
begin
  if slots is null then
    return null;
  end if;
  return occupancy.parse_slots(slots, subject, is_limit => true);
end;
$$;

comment on function occupancy.parse_limits(jsonb, text) is
  'Internal. parse_slots for limits: NULL is unlimited, zero entries stay, "Infinity" is allowed.';
revoke all on function occupancy.parse_limits(jsonb, text) from public;
