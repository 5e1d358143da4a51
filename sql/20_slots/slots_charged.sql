create or replace function occupancy.slots_charged(
  used jsonb,
  requested jsonb,
  capacity jsonb,
  default_for_unspecified text
)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
  names constant jsonb := jsonb_path_query_array(requested, '$.keyvalue().key');
  name text;
  amount numeric;
begin
  for i in 0 .. jsonb_array_length(names) - 1 loop
    name := names ->> i;
    amount := (requested ->> name)::numeric + coalesce((used ->> name)::numeric, 0);
    if amount > (capacity ->> name)::numeric
       or default_for_unspecified = 'LIMITED' and not capacity ? name
    then
      return null;
    end if;
    used := used || jsonb_build_object(name, trim_scale(amount)::text);
  end loop;
  return used;
end;
$$;

comment on function occupancy.slots_charged(jsonb, jsonb, jsonb, text) is
  'Internal. The used slots with the requested ones, or NULL if those do not fit. Only requested '
  'slots are compared, each on its own; one that the capacity does not name is none where '
  'default_for_unspecified is LIMITED. NULL capacity is unlimited.';
revoke all on function occupancy.slots_charged(jsonb, jsonb, jsonb, text) from public;
