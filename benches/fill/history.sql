-- What the sessions that have ended would have left, had they come through the queue.
create function fill.history()
returns void
language sql volatile
as $$
  insert into occupancy.session_history (session_id, changed_at, from_status, to_status, reason)
  select s.session_id, c.at, c.from_status, c.to_status, c.reason
  from occupancy.session s
  cross join lateral (values
    (s.created_at, null, 'PENDING', 'enqueued'), (s.created_at, 'PENDING', 'SCHEDULED', 'placed'),
    (s.ended_at, 'SCHEDULED', 'TERMINATED', null)
  ) as c (at, from_status, to_status, reason)
  where s.ended_at is not null;
$$;
