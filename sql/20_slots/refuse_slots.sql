create or replace function occupancy.refuse_slots(slots jsonb, subject text, is_limit boolean)
returns void
language plpgsql immutable parallel safe
as $$
declare
  entry record;
begin
  select e.name, slots -> e.name as given, e.name ~ '^[a-z0-9][a-z0-9._-]{0,63}$' as named
  into entry
  from occupancy.slot_entries(slots, is_limit) as e
  where e.sound is not true
  limit 1;
  if not entry.named then
    raise exception '% has an invalid slot name', subject
      using errcode = 'OC001', detail = left(entry.name, 100),
            hint = 'lower case letters, digits, dot, underscore and hyphen, at most 64';
  end if;
  raise exception '% has an invalid amount of %', subject, entry.name
    using errcode = 'OC001', detail = left(entry.given::text, 100),
          hint = 'a decimal from 0 to below 10^24 with at most 12 decimals, such as 4, "0.5" or '
                 '"16g"';
end;
$$;

comment on function occupancy.refuse_slots(jsonb, text, boolean) is
  'Internal. Says (OC001) what is wrong with a slots object.';
revoke all on function occupancy.refuse_slots(jsonb, text, boolean) from public;
