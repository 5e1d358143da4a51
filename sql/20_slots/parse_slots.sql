create or replace function occupancy.parse_slots(
  slots jsonb,
  subject text default 'slots',
  is_limit boolean default false
)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
  written constant text := slots::text;
  parts text[];
  parsed jsonb := slots;
  names jsonb;
  name text;
  amount numeric;
begin
  -- What nearly everybody asks for is recognised as a whole: strings of at most 12 digits, as they
  -- are stored or whole with a suffix. One expression costs less than a few of them for each slot.
  -- A text of 73 characters has no name of more than 64.
  if length(written) <= 73 and written ~ '^(?:[{ ]"[a-z0-9][a-z0-9._-]*": "'
       '(?:[1-9][0-9]{0,11}[kmg]?|(?:0|[1-9][0-9]{0,5})[.][0-9]{0,5}[1-9])"[,}])+$'
  then
    -- Every fourth part is an amount, and its name is two before.
    parts := string_to_array(written, '"');
    for i in 4 .. cardinality(parts) by 4 loop
      continue when right(parts[i], 1) not in ('k', 'm', 'g');
      parsed := parsed || jsonb_build_object(parts[i - 2], (
        left(parts[i], -1)::numeric * case right(parts[i], 1)
          when 'k' then 1024
          when 'm' then 1048576
          else 1073741824
        end)::text);
    end loop;
    return parsed;
  end if;

  if jsonb_typeof(slots) is distinct from 'object' then
    raise exception '% is not an object of resource slots', subject
      using errcode = 'OC001', detail = coalesce(left(written, 100), 'NULL'),
            hint = 'pass an object such as {"cpu": 4, "mem": "16g"}';
  end if;
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
    amount := occupancy.parse_amount(slots -> name);
    -- A zero limit says "none"; a zero amount says nothing.
    parsed := case
      when amount >= 0 and amount < 1e24 and scale(amount) <= 12 then
        case when amount = 0 and not is_limit then parsed - name
             else parsed || jsonb_build_object(name, amount::text) end
      when is_limit and lower(slots ->> name collate "C") in ('infinity', 'inf')
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
