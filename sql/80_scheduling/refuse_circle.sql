create or replace function occupancy.refuse_circle(session_id uuid, dependencies uuid[])
returns void
language plpgsql stable
as $$
begin
  -- In a circle would be who names, over whatever others, a session that waits for itself. Only an
  -- id that is there already can close one.
  if exists (
    with recursive ahead (session_id) as (
      select unnest(dependencies)
      union
      select d.depends_on
      from ahead
      cross join lateral (
        select d.depends_on
        from occupancy.session_dependency d where d.session_id = ahead.session_id
        -- One by one: a planner who believes the table empty would read all of it.
        offset 0
      ) as d
    )
    select from ahead where ahead.session_id = refuse_circle.session_id
  ) then
    raise exception 'the dependencies go in a circle'
      using errcode = 'OC005', detail = session_id::text,
            hint = 'leave out those that wait for this session themselves';
  end if;
end;
$$;

comment on function occupancy.refuse_circle(uuid, uuid[]) is
  'Internal. Refuses dependencies that go in a circle (OC005).';
revoke all on function occupancy.refuse_circle(uuid, uuid[]) from public;
