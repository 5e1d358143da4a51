create or replace view occupancy.resource_policies as
select p.name, p.max_concurrent_sessions, p.max_concurrent_system_sessions,
       p.total_resource_slots, p.default_for_unspecified,
       p.max_pending_sessions, p.max_pending_resource_slots, p.max_kernels_per_session
from occupancy.resource_policy p;

comment on view occupancy.resource_policies is
  'Limits that keypairs share (NULL = unlimited).';
grant select on occupancy.resource_policies to occupancy_viewer;
