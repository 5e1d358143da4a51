create or replace function occupancy.slot_limit(
  capacity jsonb,
  name text,
  default_for_unspecified text
)
returns numeric
language sql immutable parallel safe
return case
  when capacity is null then null
  when capacity ? name then (capacity ->> name)::numeric
  when default_for_unspecified = 'LIMITED' then 0
end;

comment on function occupancy.slot_limit(jsonb, text, text) is
  'Internal. The limit of one slot; NULL is unlimited.';
revoke all on function occupancy.slot_limit(jsonb, text, text) from public;
