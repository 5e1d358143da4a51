create or replace function occupancy.fact_amount(fact occupancy.fact, amount numeric)
returns jsonb
-- Stable as to_jsonb is: declared immutable, it would be planned anew at every call instead of being
-- taken into its caller's plan.
language sql stable parallel safe
return case when (fact).slot is null then to_jsonb(amount) else to_jsonb(trim_scale(amount)::text) end;

comment on function occupancy.fact_amount(occupancy.fact, numeric) is
  'Internal. A number of sessions or kernels as a JSON number, an amount of a slot as a string.';
revoke all on function occupancy.fact_amount(occupancy.fact, numeric) from public;
