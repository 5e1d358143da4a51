create or replace function occupancy.queued_in_order(
  resource_group text,
  policy text,
  tries integer
)
returns setof occupancy.queued_session
language sql stable
as $$
  select q.*
  from occupancy.queued_session q
  where q.resource_group = queued_in_order.resource_group
  order by
    q.priority desc,
    -- Who steps aside takes turns with the others that do.
    case when queued_in_order.policy = 'fifo' and queued_in_order.tries > 0
              and q.tries >= queued_in_order.tries
         then q.tried_at else '-infinity' end,
    case queued_in_order.policy when 'lifo' then -q.position else q.position end;
$$;

comment on function occupancy.queued_in_order(text, text, integer) is
  'Internal. The queue of a resource group in the order in which a tick looks at it. tries: after '
  'how many failed ones a session steps aside in fifo, 0 = never.';
revoke all on function occupancy.queued_in_order(text, text, integer) from public;
