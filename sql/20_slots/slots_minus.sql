create or replace function occupancy.slots_minus(base jsonb, freed jsonb, subject text)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
  names jsonb := jsonb_path_query_array(freed, '$.keyvalue().key');
  name text;
  rest numeric;
begin
  for i in 0 .. jsonb_array_length(names) - 1 loop
    name := names ->> i;
    rest := coalesce((base ->> name)::numeric, 0) - (freed ->> name)::numeric;
    if rest < 0 then
      raise exception '% would be occupied less than nothing', subject
        using errcode = 'OC010',
              detail = format('%s: %s, freed: %s', name, coalesce(base ->> name, '0'), freed ->> name),
              hint = 'run occupancy.audit(), then the recalculation that it names';
    end if;
    if rest = 0 then
      base := base - name;
    else
      base := base || jsonb_build_object(name, trim_scale(rest)::text);
    end if;
  end loop;
  return base;
end;
$$;

comment on function occupancy.slots_minus(jsonb, jsonb, text) is
  'Internal. The difference of two slots objects in stored form. Below zero is a counter that '
  'contradicts the ledger: OC010, naming the subject.';
revoke all on function occupancy.slots_minus(jsonb, jsonb, text) from public;
