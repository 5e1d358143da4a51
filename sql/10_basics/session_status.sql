create or replace function occupancy.session_status(status text, stage text)
returns text
language sql immutable parallel safe
return case status when 'RUNNING' then coalesce(stage, status) else status end;

comment on function occupancy.session_status(text, text) is
  'Internal. The state of a session as people call it: that of an active one is its stage.';
revoke all on function occupancy.session_status(text, text) from public;
