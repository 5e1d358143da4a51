create or replace view occupancy.queue as
select q.session_id, q.access_key, s.session_type, s.user_id, s.project, s.domain, q.resource_group,
       q.priority, q.enqueued_at, q.starts_at, q.cluster_mode, q.total_slots,
       jsonb_array_length(q.kernels) as kernels, q.dependencies,
       q.tries_apart + coalesce(r.tries, 0) as tries, r.tried_at,
       r.violations -> 0 ->> 'code' as code, r.violations
from occupancy.queued_session q
join occupancy.session s on s.session_id = q.session_id
left join occupancy.queued_reason r on r.reason_id = q.reason_id;

comment on view occupancy.queue is
  'Sessions that are PENDING: since when, what they ask for, how often they were tried, and what '
  'was in the way the last time.';
grant select on occupancy.queue to occupancy_viewer;
