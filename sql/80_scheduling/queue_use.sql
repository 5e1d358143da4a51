create or replace function occupancy.queue_use(
  access_key text,
  out sessions bigint,
  out slots jsonb
)
language sql stable
as $$
  select count(*), coalesce(occupancy.slots_sum(q.total_slots), '{}')
  from occupancy.session s
  join occupancy.queued_session q on q.session_id = s.session_id
  where s.access_key = queue_use.access_key and s.ended_at is null
    and s.status = 'PENDING' and s.session_type <> 'system';
$$;

comment on function occupancy.queue_use(text) is
  'Internal. What the counts of a key''s queue must be: its PENDING compute sessions and what they '
  'ask for.';
revoke all on function occupancy.queue_use(text) from public;
