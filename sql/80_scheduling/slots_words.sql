create or replace function occupancy.slots_words(slots jsonb)
returns text
language sql immutable parallel safe
as $$
  select coalesce(string_agg(e.amount || ' ' || e.slot, ', ' order by e.slot collate "C"), 'nothing')
  from jsonb_each_text(slots) as e (slot, amount);
$$;

comment on function occupancy.slots_words(jsonb) is 'Internal. Slots as messages list them.';
revoke all on function occupancy.slots_words(jsonb) from public;
