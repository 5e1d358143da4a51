create or replace function occupancy.parse_slots(
  slots jsonb,
  subject text default 'slots',
  is_limit boolean default false
)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
  names jsonb;
  name text;
  written text;
  amount numeric;
  parsed jsonb := slots;
begin
  if jsonb_typeof(slots) is distinct from 'object' then
    raise exception '% is not an object of resource slots', subject
      using errcode = 'OC001', detail = coalesce(left(slots::text, 100), 'NULL'),
            hint = 'pass an object such as {"cpu": 4, "mem": "16g"}';
  end if;
  -- A function call instead of a query over jsonb_each: starting a statement costs more.
  names := jsonb_path_query_array(slots, '$.keyvalue().key');
  if jsonb_array_length(names) > 64 then
    raise exception '% names too many resource slots', subject
      using errcode = 'OC001', detail = jsonb_array_length(names)::text, hint = 'at most 64';
  end if;
  for i in 0 .. jsonb_array_length(names) - 1 loop
    name := names ->> i;
    if name !~ '^[a-z0-9][a-z0-9._-]*$' or length(name) > 64 then
      raise exception '% has an invalid slot name', subject
        using errcode = 'OC001', detail = left(name, 100),
              hint = 'lower case letters, digits, dot, underscore and hyphen, at most 64';
    end if;
    -- Most amounts are short, and in the stored form already or whole with a suffix. A regular
    -- expression costs by the number of its states, an expression of ours by all of its nodes, even
    -- those that are not reached: what is rare stands apart.
    written := slots ->> name;
    if length(written) <= 12 and jsonb_typeof(slots -> name) = 'string' then
      continue when written ~ '^(?:0\.[0-9]*)?[1-9][0-9]*$' and written !~ '\..*0$';
      if written ~ '^[1-9][0-9]*[kmg]$' then
        parsed := parsed || jsonb_build_object(
          name,
          (left(written, -1)::numeric * case right(written, 1)
             when 'k' then 1024
             when 'm' then 1048576
             else 1073741824
           end)::text);
        continue;
      end if;
    end if;
    amount := occupancy.parse_amount(slots -> name);
    -- A zero limit says "none"; a zero amount says nothing.
    parsed := case
      when amount >= 0 and amount < 1e24 and scale(amount) <= 12 then
        case when amount = 0 and not is_limit then parsed - name
             else parsed || jsonb_build_object(name, amount::text) end
      when is_limit and lower(written collate "C") in ('infinity', 'inf')
        then parsed || jsonb_build_object(name, 'Infinity')
    end;
    if parsed is null then
      raise exception '% has an invalid amount of %', subject, name
        using errcode = 'OC001', detail = left((slots -> name)::text, 100),
              hint = 'a decimal from 0 to below 10^24 with at most 12 decimals, such as 4, "0.5" '
                     'or "16g"';
    end if;
  end loop;
  return parsed;
end;
$$;

comment on function occupancy.parse_slots(jsonb, text, boolean) is
  'Internal. Checks a resource slots object and returns it in the stored form: exact decimals as '
  'strings, without exponent, trailing zeros or, but in limits, zero entries. Refuses everything '
  'else with OC001; "Infinity" is an amount in limits only. subject: how messages call it.';
revoke all on function occupancy.parse_slots(jsonb, text, boolean) from public;
