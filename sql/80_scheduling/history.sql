create or replace view occupancy.history as
select h.session_id, h.position, h.changed_at, h.from_status, h.to_status, h.reason
from occupancy.session_history h;

comment on view occupancy.history is
  'Every change of state of sessions that came through the queue, in order of position, until they '
  'are pruned.';
grant select on occupancy.history to occupancy_viewer;
