create or replace view occupancy.concurrency as
select k.access_key, k.user_id, k.domain, k.resource_policy, k.is_active,
       k.compute_used, p.max_concurrent_sessions as compute_max,
       k.system_used, p.max_concurrent_system_sessions as system_max,
       k.occupied_slots, p.total_resource_slots, p.default_for_unspecified
from occupancy.keypair k
join occupancy.resource_policy p on p.name = k.resource_policy;

comment on view occupancy.concurrency is
  'Access keys with the sessions they run per class, the slots of their active compute sessions, '
  'and their limits (NULL = unlimited).';
grant select on occupancy.concurrency to occupancy_viewer;
