create or replace function occupancy.clock()
returns timestamptz
language sql volatile parallel safe
return clock_timestamp();

comment on function occupancy.clock() is
  'Internal. The only source of time: the database''s clock at this moment, not that of the '
  'transaction''s start, which may lie before a wait for a lock. Tests replace it.';
revoke all on function occupancy.clock() from public;
