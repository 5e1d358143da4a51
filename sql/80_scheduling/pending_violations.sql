create or replace function occupancy.pending_violations(
  access_key text,
  session_type text,
  kernels_wanted bigint,
  requested jsonb
)
returns jsonb
language sql stable
as $$
  with key as (
    select k.is_active, p.*, coalesce(q.sessions, 0) as sessions, coalesce(q.slots, '{}') as slots
    from occupancy.keypair k
    join occupancy.resource_policy p on p.name = k.resource_policy
    left join occupancy.key_queue q on q.access_key = k.access_key
    where k.access_key = pending_violations.access_key
  ),
  violated (position, slot, violation) as (
    select f.position, null, occupancy.violation(f)
    from key
    cross join lateral occupancy.key_facts(
      pending_violations.access_key, session_type, kernels_wanted, key.max_kernels_per_session,
      key.is_active, 0, null) as f
    where not f.passed
    union all
    select 4, null, occupancy.queue_violation(
      'pending_sessions', 'keypair', pending_violations.access_key, null, to_jsonb(key.sessions),
      '1', to_jsonb(key.max_pending_sessions),
      format('access key %s has %s of at most %s sessions pending',
             pending_violations.access_key, key.sessions, key.max_pending_sessions))
    from key
    where session_type <> 'system' and key.sessions + 1 > key.max_pending_sessions
    union all
    select 5, r.slot, occupancy.queue_violation(
      'pending_resource_slots', 'keypair', pending_violations.access_key, r.slot,
      to_jsonb(n.used), to_jsonb(r.amount), key.max_pending_resource_slots -> r.slot,
      format('access key %s has %s of %s %s pending, %s requested', pending_violations.access_key,
             n.used, key.max_pending_resource_slots ->> r.slot, r.slot, r.amount))
    from key
    cross join lateral jsonb_each_text(requested) as r (slot, amount)
    cross join lateral (values (coalesce(key.slots ->> r.slot, '0'))) as n (used)
    where session_type <> 'system'
      and n.used::numeric + r.amount::numeric
          > (key.max_pending_resource_slots ->> r.slot)::numeric
  )
  select jsonb_agg(v.violation order by v.position, v.slot collate "C") from violated v;
$$;

comment on function occupancy.pending_violations(text, text, bigint, jsonb) is
  'Internal. What keeps a session from waiting; NULL if nothing. A slot that '
  'max_pending_resource_slots does not name may pend without limit.';
revoke all on function occupancy.pending_violations(text, text, bigint, jsonb) from public;
