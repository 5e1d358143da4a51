create or replace function occupancy.parse_slots(
  slots jsonb,
  subject text default 'slots',
  is_limit boolean default false
)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
  named bigint;
  sound boolean;
  parsed jsonb;
begin
  if slots is null or jsonb_typeof(slots) <> 'object' then
    raise exception '% is not an object of resource slots', subject
      using errcode = 'OC001', detail = coalesce(left(slots::text, 100), 'NULL'),
            hint = 'pass an object such as {"cpu": 4, "mem": "16g"}';
  end if;
  -- A zero limit says "none"; a zero amount says nothing.
  select count(*), bool_and(coalesce(p.sound, false)),
         jsonb_object_agg(p.name, p.amount::text) filter (where is_limit or p.amount <> 0)
  into named, sound, parsed
  from occupancy.slot_entries(slots, is_limit) as p;
  if named > 64 then
    raise exception '% names too many resource slots', subject
      using errcode = 'OC001', detail = named::text, hint = 'at most 64';
  end if;
  if not sound then
    perform occupancy.refuse_slots(slots, subject, is_limit);
  end if;
  return coalesce(parsed, '{}');
end;
$$;

comment on function occupancy.parse_slots(jsonb, text, boolean) is
  'Internal. Checks a resource slots object and returns it in the stored form: exact decimals as '
  'strings, without exponent, trailing zeros or, but in limits, zero entries. Refuses everything '
  'else with OC001; "Infinity" is an amount in limits only. subject: how messages call it.';
revoke all on function occupancy.parse_slots(jsonb, text, boolean) from public;
