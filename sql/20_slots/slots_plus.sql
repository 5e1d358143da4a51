create or replace function occupancy.slots_plus(base jsonb, added jsonb)
returns jsonb
language plpgsql immutable strict parallel safe
as $$
declare
  names jsonb := jsonb_path_query_array(added, '$.keyvalue().key');
  name text;
begin
  for i in 0 .. jsonb_array_length(names) - 1 loop
    name := names ->> i;
    if base ? name then
      base := base || jsonb_build_object(
        name, trim_scale((base ->> name)::numeric + (added ->> name)::numeric)::text);
    else
      base := base || jsonb_build_object(name, added ->> name);
    end if;
  end loop;
  return base;
end;
$$;

comment on function occupancy.slots_plus(jsonb, jsonb) is
  'Internal. The sum of two slots objects in stored form.';
revoke all on function occupancy.slots_plus(jsonb, jsonb) from public;
