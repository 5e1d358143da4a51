create or replace function occupancy.slots_fit(
  requested jsonb,
  used jsonb,
  capacity jsonb,
  default_for_unspecified text
)
returns boolean
language plpgsql immutable parallel safe
as $$
declare
  names jsonb;
  name text;
begin
  if capacity is null then
    return true;
  end if;
  names := jsonb_path_query_array(requested, '$.keyvalue().key');
  for i in 0 .. jsonb_array_length(names) - 1 loop
    name := names ->> i;
    if capacity ? name then
      if (requested ->> name)::numeric + coalesce((used ->> name)::numeric, 0)
         > (capacity ->> name)::numeric
      then
        return false;
      end if;
    elsif default_for_unspecified = 'LIMITED' then
      return false;
    end if;
  end loop;
  return true;
end;
$$;

comment on function occupancy.slots_fit(jsonb, jsonb, jsonb, text) is
  'Internal. Whether the requested slots fit beside the used ones. Only requested slots are '
  'compared, each on its own; one that the capacity does not name is none where '
  'default_for_unspecified is LIMITED. NULL capacity is unlimited.';
revoke all on function occupancy.slots_fit(jsonb, jsonb, jsonb, text) from public;
