create or replace view occupancy.suspects as
select l.session_id, l.status, l.access_key, l.manager, l.epoch, l.state, l.created_at,
       l.suspect_at, l.expires_at
from occupancy.get_leases() as l
where l.state <> 'held';

comment on view occupancy.suspects is
  'Sessions that are not confirmed and whose holder is silent or fenced. Unless it beats before '
  'expires_at, or they are confirmed or ended, reclaim_expired frees them.';
grant select on occupancy.suspects to occupancy_viewer;
