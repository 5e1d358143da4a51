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
  'Internal. Refuses dependencies on sessions that nobody knows (OC004), and keeps the others from '
  'being pruned until the end of the transaction.';
revoke all on function occupancy.hold_dependencies(uuid, uuid[]) from public;
