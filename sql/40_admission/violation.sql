create or replace function occupancy.violation(fact occupancy.fact)
returns jsonb
-- Stable as jsonb_build_object is: declared immutable, it would be planned anew at every call instead of being
-- taken into its caller's plan.
language sql stable parallel safe
return jsonb_build_object(
  'code', (fact).code, 'scope', (fact).scope, 'scope_id', (fact).scope_id, 'slot', (fact).slot,
  'used', occupancy.fact_amount(fact, (fact).used),
  'requested', occupancy.fact_amount(fact, (fact).requested),
  'max', occupancy.fact_amount(fact, (fact).max),
  'message', occupancy.fact_message(fact)
);

comment on function occupancy.violation(occupancy.fact) is
  'Internal. A failed comparison as an element of violations.';
revoke all on function occupancy.violation(occupancy.fact) from public;
