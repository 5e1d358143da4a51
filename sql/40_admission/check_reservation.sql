create or replace function occupancy.check_reservation(
  session_id uuid,
  access_key text,
  session_type text,
  project text
)
returns boolean
-- Taken into its caller's expression: a call of plpgsql costs as much as four of these comparisons.
language sql immutable parallel safe
return session_id is not null
    and access_key <> '' and length(access_key) <= 256
    and session_type in ('interactive', 'batch', 'inference', 'system')
    and (project is null or project <> '' and length(project) <= 256)
  or occupancy.refuse_reservation(session_id, access_key, session_type, project);

comment on function occupancy.check_reservation(uuid, text, text, text) is
  'Internal. Refuses (OC005) the arguments of a reservation that need no table to be wrong.';
revoke all on function occupancy.check_reservation(uuid, text, text, text) from public;
