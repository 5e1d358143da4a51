create or replace function occupancy.claim_sessions(sessions occupancy.asked_session[])
returns uuid[]
language plpgsql volatile
as $$
declare
  claimed uuid[];
begin
  -- Sorted; of several with one id the first. What is withdrawn later keeps others waiting until we
  -- commit, just as what stays.
  with claims as (
    insert into occupancy.session (
      session_id, status, access_key, session_type, user_id, project, resource_group, domain,
      created_at)
    select s.session_id, 'RUNNING', s.access_key, s.session_type, s.user_id, s.project,
           s.resource_group, s.domain, occupancy.clock()
    from unnest(sessions) as s
    order by s.session_id, s.position
    on conflict do nothing
    returning session_id, access_key, session_type
  ), slots as (
    insert into occupancy.session_concurrency (access_key, session_id, system)
    select c.access_key, c.session_id, c.session_type = 'system' from claims c
  )
  select coalesce(array_agg(c.session_id), '{}') into claimed from claims c;
  return claimed;
end;
$$;

comment on function occupancy.claim_sessions(occupancy.asked_session[]) is
  'Internal. Claims the ids of a batch, each with its slot, and returns those that were free: what '
  'nobody else waits for is written before the first lock.';
revoke all on function occupancy.claim_sessions(occupancy.asked_session[]) from public;
