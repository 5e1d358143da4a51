create or replace view occupancy.leases as
select l.session_id, l.status, l.access_key, l.manager, l.epoch, l.state, l.created_at,
       l.suspect_at, l.expires_at
from occupancy.get_leases() as l;

comment on view occupancy.leases is
  'Sessions that are not confirmed yet, and who holds them. state: held, suspect or expired.';
grant select on occupancy.leases to occupancy_viewer;
