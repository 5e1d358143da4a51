create or replace function occupancy.lock_tick(
  resource_group text,
  max_sessions integer,
  policy text,
  tries integer
)
returns uuid[]
language plpgsql volatile
as $$
declare
  held uuid[];
  owners occupancy.keypair[];
begin
  -- Whoever holds a session cancels it right now: it is passed over, so that nobody waits here, and
  -- whoever waits for it is answered when we are done.
  held := array(
    select s.session_id from occupancy.session s
    where s.status = 'PENDING' and s.session_id = any (array(
      select q.session_id
      from occupancy.queued_in_order(lock_tick.resource_group, policy, lock_tick.tries) as q
      limit max_sessions))
    order by s.session_id for no key update skip locked);
  owners := array(
    select k from occupancy.keypair k
    where k.access_key = any (array(
      select distinct q.access_key from occupancy.queued_session q where q.session_id = any (held)))
    order by k.access_key for no key update);
  perform from occupancy.agent a
  where a.resource_group = lock_tick.resource_group
  order by a.agent_id for no key update;
  perform occupancy.lock_quotas(
    array(select distinct o.user_id from unnest(owners) as o),
    array(select distinct s.project from occupancy.session s where s.session_id = any (held)),
    array[lock_tick.resource_group],
    array(select distinct o.domain from unnest(owners) as o));
  return held;
end;
$$;

comment on function occupancy.lock_tick(text, integer, text, integer) is
  'Internal. Locks all that a tick decides with: the first of the queue, their keys, the agents of '
  'the group, the quotas. Returns the sessions.';
revoke all on function occupancy.lock_tick(text, integer, text, integer) from public;
