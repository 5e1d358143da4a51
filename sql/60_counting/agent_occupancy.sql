create or replace view occupancy.agent_occupancy as
select a.agent_id, a.resource_group, a.status, a.schedulable, a.available_slots,
       a.occupied_slots, a.heartbeat_at
from occupancy.agent a;

comment on view occupancy.agent_occupancy is
  'Agents with their capacity and what is occupied of it, as objects of slots.';
grant select on occupancy.agent_occupancy to occupancy_viewer;
