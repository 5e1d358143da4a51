create or replace function occupancy.count_message(
  code text,
  scope text,
  scope_id text,
  used numeric,
  max numeric
)
returns text
-- Stable as format is: declared immutable, it would be planned anew at every call instead of being
-- taken into its caller's plan.
language sql stable parallel safe
return format(
  '%s %s runs %s of at most %s %s', occupancy.scope_words(scope), scope_id, used, max,
  case when code = 'system_concurrency_limit' then 'system sessions' else 'sessions' end);

comment on function occupancy.count_message(text, text, text, numeric, numeric) is
  'Internal. In words, that a limit of sessions is reached.';
revoke all on function occupancy.count_message(text, text, text, numeric, numeric) from public;
