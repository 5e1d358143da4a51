create or replace function occupancy.blocking_violations(waiting occupancy.queued_session)
returns table (place integer, violation jsonb)
language sql stable
as $$
  select 1, occupancy.queue_violation(
    'start_time', 'session', (waiting).session_id::text, null, null,
    to_jsonb((waiting).starts_at), null,
    format('session %s is to start at %s', (waiting).session_id, (waiting).starts_at))
  where (waiting).starts_at > occupancy.clock()
  union all
  select 2, occupancy.queue_violation(
    'dependencies', 'session', d.id::text, null, null, null, null,
    format('session %s has not ended with success: %s', d.id, coalesce((
      select occupancy.session_status(s.status, s.stage)
      from occupancy.session s where s.session_id = d.id
    ), 'forgotten')))
  from unnest(case when (waiting).dependencies <> '{}'
              then occupancy.unmet_dependencies((waiting).session_id) end) as d (id)
  union all
  select 2 + f.position, occupancy.violation(f)
  from occupancy.keypair k
  cross join lateral occupancy.key_facts(
    k.access_key, '', jsonb_array_length((waiting).kernels), (
      select p.max_kernels_per_session
      from occupancy.resource_policy p where p.name = k.resource_policy),
    k.is_active, 0, null) as f
  where k.access_key = (waiting).access_key and not f.passed
  union all
  select 20, occupancy.queue_violation(
    'kernel_id_taken', 'session', (waiting).session_id::text, null, null, null, null,
    'a kernel id belongs to another session by now')
  where occupancy.kernels_taken((waiting).kernels);
$$;

comment on function occupancy.blocking_violations(occupancy.queued_session) is
  'Internal. What keeps a PENDING session waiting whatever room there is.';
revoke all on function occupancy.blocking_violations(occupancy.queued_session) from public;
