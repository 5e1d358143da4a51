create or replace function occupancy.fact_message(fact occupancy.fact)
returns text
-- Stable as format is: declared immutable, it would be planned anew at every call instead of being
-- taken into its caller's plan.
language sql stable parallel safe
return case
  when (fact).code = 'key_inactive' then format('access key %s is inactive', (fact).scope_id)
  when (fact).code = 'agent_unavailable'
    then format('agent %s is not alive or not schedulable', (fact).scope_id)
  when (fact).code = 'kernels_per_session'
    then format('%s kernels requested, at most %s in a session', (fact).requested, (fact).max)
  when (fact).slot is null
    then occupancy.count_message(
      (fact).code, (fact).scope, (fact).scope_id, (fact).used, (fact).max)
  else format('%s %s has %s of %s %s occupied, %s requested', occupancy.scope_words((fact).scope),
              (fact).scope_id, trim_scale((fact).used), trim_scale((fact).max), (fact).slot,
              trim_scale((fact).requested))
end;

comment on function occupancy.fact_message(occupancy.fact) is
  'Internal. A failed comparison in words.';
revoke all on function occupancy.fact_message(occupancy.fact) from public;
