create or replace function occupancy.may_become(from_status text, to_status text)
returns boolean
language sql immutable parallel safe
return case from_status
  when 'PENDING' then to_status in ('SCHEDULED', 'CANCELLED')
  -- On its way up a session may be seen to skip a stage, never to go back.
  when 'SCHEDULED' then to_status in (
    'PREPARING', 'PULLING', 'PREPARED', 'CREATING', 'RUNNING', 'ERROR', 'TERMINATING', 'TERMINATED')
  when 'PREPARING' then to_status in (
    'PULLING', 'PREPARED', 'CREATING', 'RUNNING', 'ERROR', 'TERMINATING', 'TERMINATED')
  when 'PULLING' then to_status in (
    'PREPARED', 'CREATING', 'RUNNING', 'ERROR', 'TERMINATING', 'TERMINATED')
  when 'PREPARED' then to_status in ('CREATING', 'RUNNING', 'ERROR', 'TERMINATING', 'TERMINATED')
  when 'CREATING' then to_status in ('RUNNING', 'ERROR', 'TERMINATING', 'TERMINATED')
  when 'RUNNING' then to_status in ('ERROR', 'TERMINATING', 'TERMINATED')
  -- It keeps all that it holds, until somebody has looked at it and ends it.
  when 'ERROR' then to_status in ('TERMINATING', 'TERMINATED')
  when 'TERMINATING' then to_status = 'TERMINATED'
  else false
end;

comment on function occupancy.may_become(text, text) is
  'Internal. The state machine of sessions: whether one in the first state may come to the second. '
  'TERMINATED and CANCELLED are final.';
revoke all on function occupancy.may_become(text, text) from public;
