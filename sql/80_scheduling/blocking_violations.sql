create or replace function occupancy.blocking_violations(waiting occupancy.queued_session)
returns table (place integer, violation jsonb)
language sql stable
as $$
  with present as materialized (
    select 1 as place, occupancy.queue_violation(
      'start_time', 'session', (waiting).session_id::text, null, null,
      to_jsonb((waiting).starts_at), null,
      format('session %s is to start at %s', (waiting).session_id,
             to_jsonb((waiting).starts_at) #>> '{}')) as violation
    where (waiting).starts_at > occupancy.clock()
    union all
    select 2, occupancy.queue_violation(
      'dependencies', 'session', d.id::text, null, null, null, null,
      coalesce((
        select format(case when s.ended_at is null then 'session %s has not ended: it is %s'
                           when s.status = 'CANCELLED' then 'session %s was cancelled'
                           else 'session %s ended out of ERROR' end,
                      d.id, occupancy.session_status(s.status, s.stage))
        from occupancy.session s where s.session_id = d.id
      ), format('session %s did not end with success, and is forgotten', d.id)))
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
    where occupancy.kernels_taken((waiting).kernels)
  )
  select p.place, p.violation from present p
  union all
  -- What was in the way when a tick looked may be gone a moment later. It is told all the same: the
  -- tick went by it. A time that came meanwhile came after the transaction began.
  select f.place, occupancy.queue_violation(
    f.code, 'session', f.id::text, null, null, f.requested, null,
    format('%s when it was looked at, but is no longer', f.message))
  from (
    select 1 as place, 'start_time' as code, (waiting).session_id as id,
           to_jsonb((waiting).starts_at) as requested,
           'the start time was still to come' as message
    where (waiting).starts_at > now()
    union all
    select 2, 'dependencies', (
      select d.id from unnest((waiting).dependencies) as d (id)
      order by (
        select s.ended_at from occupancy.session s where s.session_id = d.id) desc nulls last
      limit 1
    ), null, 'a dependency was unmet'
    where (waiting).dependencies <> '{}'
    union all
    select 20, 'kernel_id_taken', (waiting).session_id, null, 'a kernel id was taken'
    order by place
    limit 1
  ) as f
  where not exists (select from present);
$$;

comment on function occupancy.blocking_violations(occupancy.queued_session) is
  'Internal. What keeps a PENDING session waiting whatever room there is: never nothing, since it is '
  'asked about those alone of which a tick found so.';
revoke all on function occupancy.blocking_violations(occupancy.queued_session) from public;
