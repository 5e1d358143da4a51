create or replace function occupancy.slot_entries(slots jsonb, is_limit boolean)
returns setof occupancy.slot_entry
language sql immutable parallel safe
as $$
  select e.name, e.amount,
         e.name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'
         and e.amount >= 0 and (e.amount < 1e24 or e.amount = 'Infinity')
         and coalesce(scale(e.amount), 0) <= 12
  from (
    select j.key as name,
           case
             when is_limit and lower(j.value #>> '{}') in ('infinity', 'inf')
                  and jsonb_typeof(j.value) = 'string' then 'Infinity'
             else trim_scale(occupancy.parse_amount(j.value))
           end as amount
    from jsonb_each(slots) as j
    -- Keeps the amount from being worked out once per mention.
    offset 0
  ) as e;
$$;

comment on function occupancy.slot_entries(jsonb, boolean) is
  'Internal. The entries of a slots object with their amounts (NULL = unreadable), and whether '
  'name and amount are within the grammar.';
revoke all on function occupancy.slot_entries(jsonb, boolean) from public;
