create or replace function occupancy.hold_dependencies(session_id uuid, dependencies uuid[])
returns void
language plpgsql volatile
as $$
declare
  missing uuid;
begin
  if cardinality(dependencies) = 0 then
    return;
  end if;
  -- In a circle would be who names, over whatever others, a session that waits for itself. Only an
  -- id that is there already can close one.
  if exists (
    with recursive ahead (session_id) as (
      select unnest(dependencies)
      union
      select d.depends_on
      from ahead
      join occupancy.session_dependency d on d.session_id = ahead.session_id
    )
    select from ahead where ahead.session_id = hold_dependencies.session_id
  ) then
    raise exception 'the dependencies go in a circle'
      using errcode = 'OC005', detail = session_id::text,
            hint = 'leave out those that wait for this session themselves';
  end if;
  -- Held until we commit, so that nobody prunes one before it is seen that we wait for it.
  select i.session_id into missing
  from unnest(dependencies) as i (session_id)
  left join (
    select s.session_id from occupancy.session s
    where s.session_id = any (dependencies)
    order by s.session_id for key share
  ) as held on held.session_id = i.session_id
  where held.session_id is null
  limit 1;
  if found then
    raise exception 'unknown dependency'
      using errcode = 'OC004', detail = missing::text,
            hint = 'enqueue a session before those that depend on it';
  end if;
end;
$$;

comment on function occupancy.hold_dependencies(uuid, uuid[]) is
  'Internal. Refuses dependencies in a circle (OC005) or on sessions that nobody knows (OC004), and '
  'keeps the others from being pruned until the end of the transaction.';
revoke all on function occupancy.hold_dependencies(uuid, uuid[]) from public;
