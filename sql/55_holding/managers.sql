create or replace view occupancy.managers as
select m.manager, m.epoch, m.status, m.ttl, m.grace, m.registered_at, m.beat_at, m.fenced_at,
       m.sessions
from occupancy.get_managers() as m;

comment on view occupancy.managers is
  'Starts of managers. status: ALIVE, SUSPECT (silent for ttl), EXPIRED (and for grace) or FENCED '
  '(a newer start has the name). sessions: how many it holds, unconfirmed.';
grant select on occupancy.managers to occupancy_viewer;
