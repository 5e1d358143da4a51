create or replace function occupancy.lock_tick(
  resource_group text,
  max_sessions integer,
  policy text,
  tries integer
)
returns occupancy.tick_queue
language plpgsql volatile
-- What is joined here are arrays, of which the planner does not know how long they are.
set enable_nestloop = off
as $$
declare
  queue occupancy.tick_queue;
  keys text[];
  owners occupancy.keypair[];
begin
  -- Only ticks change what is read here, and those of a group take turns; the rest of the row never
  -- changes.
  select array_agg(q.session_id), array_agg(q.priority), array_agg(q.request),
         array_agg(q.gated), array_agg(q.reason_id), array_agg(q.access_key)
  into queue.ids, queue.priorities, queue.requests, queue.gated, queue.reasons, keys
  from (
    -- What is sorted by comes first, where it is found at once in each comparison.
    select q.priority,
           -- Who steps aside takes turns with the others that do.
           case when policy = 'fifo' and lock_tick.tries > 0
                     and r.tries + q.tries_apart >= lock_tick.tries
                then r.tried_at else '-infinity' end as aside,
           q.place, q.session_id, q.reason_id, q.gated, q.request, q.access_key
    from (
      select q.session_id, q.access_key, q.priority,
             case policy when 'lifo' then -q.position else q.position end as place,
             q.request, q.gated, q.reason_id, q.tries_apart
      from occupancy.queued_session q
      where policy <> 'drf' and q.resource_group = lock_tick.resource_group
      union all
      select l.*
      from occupancy.line_of_keys(lock_tick.resource_group, max_sessions, lock_tick.tries) as l
      where policy = 'drf'
    ) as q
    left join occupancy.queued_reason r on r.reason_id = q.reason_id
    order by q.priority desc, aside, place
    limit max_sessions + 1
  ) as q;
  -- Whoever waited for his turn may find that another tick placed all.
  if queue.ids is null then
    queue.pending := '{}';
    return queue;
  end if;
  owners := array(
    select k from occupancy.keypair k
    where k.access_key = any (array(select distinct unnest(keys[ : max_sessions])))
    order by k.access_key for no key update);
  -- Whoever takes a session out of the queue holds its key until he is done, so that those that are
  -- PENDING now stay it. Only those that are to be placed are locked themselves, when that is known.
  queue.pending := array(
    select row(s.session_id, s.access_key, s.session_type = 'system', s.project)::occupancy.pending_session
    from occupancy.session s
    where s.status = 'PENDING' and s.session_id = any (queue.ids[ : max_sessions]));
  perform from occupancy.agent a
  where a.resource_group = lock_tick.resource_group
  order by a.agent_id for no key update;
  perform occupancy.lock_quotas(
    array(select distinct o.user_id from unnest(owners) as o),
    array(select distinct s.project from unnest(queue.pending) as s),
    array[lock_tick.resource_group],
    array(select distinct o.domain from unnest(owners) as o));
  return queue;
end;
$$;

comment on function occupancy.lock_tick(text, integer, text, integer) is
  'Internal. Locks all that a tick decides with: the keys of the first of the queue, the agents of '
  'the group, the quotas. Returns these sessions, in the order of the queue.';
revoke all on function occupancy.lock_tick(text, integer, text, integer) from public;
