create or replace view occupancy.quotas as
select q.scope, q.scope_id, q.used, q.max_concurrent_sessions, q.occupied_slots,
       q.total_resource_slots, q.default_for_unspecified
from occupancy.quota q;

comment on view occupancy.quotas is
  'Quotas of users, projects, resource groups and domains, with their use and limits (NULL = '
  'unlimited).';
grant select on occupancy.quotas to occupancy_viewer;
