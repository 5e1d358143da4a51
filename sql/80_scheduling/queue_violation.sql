create or replace function occupancy.queue_violation(
  code text,
  scope text,
  scope_id text,
  slot text,
  used jsonb,
  requested jsonb,
  max jsonb,
  message text
)
returns jsonb
language sql immutable parallel safe
return jsonb_build_object(
  'code', code, 'scope', scope, 'scope_id', scope_id, 'slot', slot, 'used', used,
  'requested', requested, 'max', max, 'message', message);

comment on function occupancy.queue_violation(
  text, text, text, text, jsonb, jsonb, jsonb, text
) is
  'Internal. An element of violations that only the queue knows; in the form of the others.';
revoke all on function occupancy.queue_violation(
  text, text, text, text, jsonb, jsonb, jsonb, text
) from public;
