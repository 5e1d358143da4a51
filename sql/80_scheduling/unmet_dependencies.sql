create or replace function occupancy.unmet_dependencies(session_id uuid)
returns uuid[]
language sql stable
as $$
  select array_agg(d.depends_on order by d.depends_on)
  from occupancy.session_dependency d
  where d.session_id = unmet_dependencies.session_id
    and not coalesce((
      select occupancy.ended_well(s) from occupancy.session s where s.session_id = d.depends_on
    ), false);
$$;

comment on function occupancy.unmet_dependencies(uuid) is
  'Internal. The sessions that a PENDING one still waits for, or waits for in vain; NULL if none.';
revoke all on function occupancy.unmet_dependencies(uuid) from public;
