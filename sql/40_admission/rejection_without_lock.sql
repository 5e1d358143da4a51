create or replace function occupancy.rejection_without_lock(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  key occupancy.key_context
)
returns occupancy.admission
language plpgsql volatile
as $$
declare
  violated jsonb;
begin
  -- Violations and the id's absence in one snapshot: what is in the way could be a duplicate of
  -- this very call, which must then be answered as one.
  select occupancy.violations(access_key, session_type, project, placed) into violated
  where not exists (
    select from occupancy.session s
    where s.session_id = rejection_without_lock.session_id);
  if violated is null then
    return null;
  end if;
  return occupancy.rejection(session_id, access_key, key.used, key.max, violated);
end;
$$;

comment on function occupancy.rejection_without_lock(
  uuid, text, text, text, occupancy.placement, occupancy.key_context
) is
  'Internal. The answer to a reservation that does not fit at this moment, with everything that is '
  'violated; NULL if it fits after all or its id is taken by now.';
revoke all on function occupancy.rejection_without_lock(
  uuid, text, text, text, occupancy.placement, occupancy.key_context
) from public;
