create or replace view occupancy.sessions as
select s.session_id, s.status, s.access_key, s.session_type, s.user_id, s.project,
       s.resource_group, s.domain, s.created_at, s.terminating_at,
       (select count(*) from occupancy.kernel k
        where k.session_id = s.session_id and k.ended_at is null) as live_kernels
from occupancy.session s
where s.ended_at is null;

comment on view occupancy.sessions is
  'Sessions that live, whom they are charged to, and since when. status: RUNNING (holds slot, '
  'quotas and agents) or TERMINATING (agents only).';
grant select on occupancy.sessions to occupancy_viewer;
