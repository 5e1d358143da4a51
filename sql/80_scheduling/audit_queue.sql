create or replace function occupancy.audit_queue()
returns setof occupancy.finding
language sql stable
as $$
  select 'queue_use', 'queue of keypair ' || q.access_key,
         format('%s sessions, %s', t.sessions, t.slots),
         format('%s sessions, %s', q.sessions, q.slots),
         format('select * from occupancy.recalc_concurrency(%L)', q.access_key)
  from occupancy.key_queue q
  cross join lateral occupancy.queue_use(q.access_key) as t
  where (q.sessions, q.slots) is distinct from (t.sessions, t.slots)
  union all
  select 'pending_has_place', 'session ' || s.session_id, 'a row in queued_session', 'no row',
         format('select * from occupancy.release_session(%L)', s.session_id)
  from occupancy.session s
  where s.ended_at is null and s.status = 'PENDING'
    and not exists (select from occupancy.queued_session q where q.session_id = s.session_id)
  union all
  select 'pending_has_count', 'session ' || s.session_id, 'a row in key_queue', 'no row',
         format('select * from occupancy.recalc_concurrency(%L)', s.access_key)
  from occupancy.session s
  where s.ended_at is null and s.status = 'PENDING'
    and not exists (select from occupancy.key_queue q where q.access_key = s.access_key)
  union all
  select 'place_has_pending', 'queued_session ' || q.session_id, 'a PENDING session',
         coalesce(occupancy.session_status(s.status, s.stage), 'no row'),
         format('select * from occupancy.recalc_concurrency(%L)', q.access_key)
  from occupancy.queued_session q
  left join occupancy.session s on s.session_id = q.session_id
  where (s.status = 'PENDING' and s.access_key = q.access_key
         and s.resource_group = q.resource_group) is not true
  union all
  select 'kept_for_pending', k.subject, 'a PENDING session',
         coalesce(occupancy.session_status(s.status, s.stage), 'no row'),
         case when p.access_key is null
           then 'select * from occupancy.recalc_concurrency_fullscan()'
           else format('select * from occupancy.recalc_concurrency(%L)', p.access_key)
         end
  from (
    select 'queued_kernel ' || q.kernel_id as subject, q.session_id
    from occupancy.queued_kernel q
    union all
    select format('session_dependency %s %s', d.session_id, d.depends_on), d.session_id
    from occupancy.session_dependency d
  ) as k
  left join occupancy.session s on s.session_id = k.session_id
  left join occupancy.keypair p on p.access_key = s.access_key
  where s.status is distinct from 'PENDING';
$$;

comment on function occupancy.audit_queue() is
  'Internal. The part of the audit that proves the queue.';
revoke all on function occupancy.audit_queue() from public;
