create or replace function occupancy.parse_slots(
  slots jsonb,
  subject text default 'slots',
  is_limit boolean default false
)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
  entries jsonb;
  name text;
  given jsonb;
  amount numeric;
  parsed jsonb := jsonb '{}';
begin
  if slots is null or jsonb_typeof(slots) <> 'object' then
    raise exception '% is not an object of resource slots', subject
      using errcode = 'OC001', detail = coalesce(left(slots::text, 100), 'NULL'),
            hint = 'pass an object such as {"cpu": 4, "mem": "16g"}';
  end if;
  -- A function call instead of a query over jsonb_each: starting a statement costs more.
  entries := jsonb_path_query_array(slots, '$.keyvalue()');
  if jsonb_array_length(entries) > 64 then
    raise exception '% names too many resource slots', subject
      using errcode = 'OC001', detail = jsonb_array_length(entries)::text, hint = 'at most 64';
  end if;
  for i in 0 .. jsonb_array_length(entries) - 1 loop
    name := entries -> i ->> 'key';
    given := entries -> i -> 'value';
    if name !~ '^[a-z0-9][a-z0-9._-]*$' or length(name) > 64 then
      raise exception '% has an invalid slot name', subject
        using errcode = 'OC001', detail = left(name, 100),
              hint = 'lower case letters, digits, dot, underscore and hyphen, at most 64';
    end if;
    amount := trim_scale(occupancy.parse_amount(given));
    if amount >= 0 and amount < 1e24 and scale(amount) <= 12 then
      -- A zero limit says "none"; a zero amount says nothing.
      if amount <> 0 or is_limit then
        parsed := parsed || jsonb_build_object(name, amount::text);
      end if;
    elsif is_limit and jsonb_typeof(given) = 'string' and lower(given #>> '{}') in ('infinity', 'inf')
    then
      parsed := parsed || jsonb_build_object(name, 'Infinity');
    else
      raise exception '% has an invalid amount of %', subject, name
        using errcode = 'OC001', detail = left(given::text, 100),
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
