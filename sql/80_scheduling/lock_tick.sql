create or replace function occupancy.lock_tick(
  resource_group text,
  max_sessions integer,
  policy text,
  tries integer
)
returns uuid[]
language plpgsql volatile
-- What is joined here are arrays, of which the planner does not know how long they are.
set enable_nestloop = off
as $$
declare
  first constant uuid[] := array(
    select q.session_id
    from occupancy.queued_in_order(lock_tick.resource_group, policy, lock_tick.tries) as q
    limit max_sessions);
  held uuid[];
  keys text[];
  projects text[];
  owners occupancy.keypair[];
begin
  -- Whoever holds a session cancels it right now: it is passed over, so that nobody waits here, and
  -- whoever waits for it is answered when we are done.
  select array_agg(l.session_id), array_agg(distinct l.access_key), array_agg(distinct l.project)
  into held, keys, projects
  from (
    select s.session_id, s.access_key, s.project
    from occupancy.session s
    where s.status = 'PENDING' and s.session_id = any (first)
    order by s.session_id for no key update skip locked
  ) as l;
  owners := array(
    select k from occupancy.keypair k
    where k.access_key = any (keys)
    order by k.access_key for no key update);
  perform from occupancy.agent a
  where a.resource_group = lock_tick.resource_group
  order by a.agent_id for no key update;
  perform occupancy.lock_quotas(
    array(select distinct o.user_id from unnest(owners) as o),
    projects,
    array[lock_tick.resource_group],
    array(select distinct o.domain from unnest(owners) as o));
  -- Only ticks change the order of a queue, and those of a group take turns.
  return array(
    select f.session_id
    from unnest(first) with ordinality as f (session_id, n)
    join unnest(held) as h (session_id) on h.session_id = f.session_id
    order by f.n);
end;
$$;

comment on function occupancy.lock_tick(text, integer, text, integer) is
  'Internal. Locks all that a tick decides with: the first of the queue, their keys, the agents of '
  'the group, the quotas. Returns the sessions, in the order of the queue.';
revoke all on function occupancy.lock_tick(text, integer, text, integer) from public;
