create or replace function occupancy.violations_ahead(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement
)
returns jsonb
language plpgsql volatile
as $$
begin
  -- In one snapshot with the id's absence: what is in the way could be a duplicate of this very
  -- call, which must then be answered as one.
  return (
    select occupancy.violations(access_key, session_type, project, placed)
    where not exists (
      select from occupancy.session s where s.session_id = violations_ahead.session_id));
end;
$$;

comment on function occupancy.violations_ahead(
  uuid, text, text, text, occupancy.placement
) is
  'Internal. What a reservation violates at this moment, without a lock; NULL if nothing, or if '
  'its id is taken by now.';
revoke all on function occupancy.violations_ahead(
  uuid, text, text, text, occupancy.placement
) from public;
