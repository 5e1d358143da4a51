create or replace view occupancy.sessions as
select s.session_id, coalesce(case s.status when 'RUNNING' then s.stage end, s.status) as status,
       s.access_key, s.session_type, s.user_id, s.project, s.resource_group, s.domain,
       s.created_at, s.terminating_at,
       (select count(*) from occupancy.kernel k
        where k.session_id = s.session_id and k.ended_at is null) as live_kernels
from occupancy.session s
where s.ended_at is null;

comment on view occupancy.sessions is
  'Sessions that live, whom they are charged to, and since when. status: PENDING (holds '
  'nothing), TERMINATING (agents only), or the stage of one that holds slot, quotas and agents: '
  'RUNNING, and what only sessions of the queue go through.';
grant select on occupancy.sessions to occupancy_viewer;
