create or replace function occupancy.give_back_slots(session_ids uuid[])
returns void
language plpgsql volatile
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
declare
  running constant uuid[] := array(
    select s.session_id from occupancy.session s
    where s.session_id = any (session_ids) and s.status = 'RUNNING');
  given_back uuid[];
begin
  with deleted as (
    delete from occupancy.session_concurrency c
    using occupancy.session s
    where s.session_id = any (running) and c.session_id = any (running)
      and c.session_id = s.session_id and c.access_key = s.access_key
      and c.system = (s.session_type = 'system')
    returning c.session_id
  )
  select coalesce(array_agg(d.session_id), '{}') into given_back from deleted d;
  if cardinality(given_back) = cardinality(running) then
    return;
  end if;
  -- Sessions are going to be taken off their keys one by one, but a key is charged with rows of its
  -- set: where somebody deleted such a row by hand, the key has one less already.
  update occupancy.keypair p
  set compute_used = p.compute_used + m.compute, system_used = p.system_used + m.system
  from (
    select s.access_key, count(*) filter (where s.session_type <> 'system') as compute,
           count(*) filter (where s.session_type = 'system') as system
    from occupancy.session s
    where s.session_id = any (array(select unnest(running) except select unnest(given_back)))
    group by s.access_key
  ) as m
  where p.access_key = m.access_key;
end;
$$;

comment on function occupancy.give_back_slots(uuid[]) is
  'Internal. Deletes the slots of active sessions whose keys the caller has locked, and evens out '
  'the counters of keys whose rows were deleted by hand before.';
revoke all on function occupancy.give_back_slots(uuid[]) from public;
