create or replace function occupancy.violations(
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement
)
returns jsonb
language plpgsql stable
as $$
begin
  return (
    select jsonb_agg(occupancy.violation(f))
    from occupancy.admission_facts(access_key, session_type, project, placed) as f
    where not f.passed
  );
end;
$$;

comment on function occupancy.violations(text, text, text, occupancy.placement) is
  'Internal. The violations of an admission as its answer lists them; NULL if there are none.';
revoke all on function occupancy.violations(text, text, text, occupancy.placement)
  from public;
