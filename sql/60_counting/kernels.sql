create or replace view occupancy.kernels as
select k.kernel_id, k.session_id, k.agent_id, k.requested_slots,
       coalesce(k.settled_slots, k.requested_slots) as occupied_slots,
       s.access_key, coalesce(case s.status when 'RUNNING' then s.stage end, s.status) as status,
       s.created_at
from occupancy.kernel k
join occupancy.session s on s.session_id = k.session_id
where k.ended_at is null;

comment on view occupancy.kernels is
  'Kernels that live: on which agent, what was requested, what they occupy, since when.';
grant select on occupancy.kernels to occupancy_viewer;
