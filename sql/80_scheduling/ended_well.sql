create or replace function occupancy.ended_well(session occupancy.session)
returns boolean
language sql immutable parallel safe
return (session).status = 'TERMINATED' and (session).stage is distinct from 'ERROR';

comment on function occupancy.ended_well(occupancy.session) is
  'Internal. Whether a session ended with success: neither cancelled nor out of ERROR.';
revoke all on function occupancy.ended_well(occupancy.session) from public;
