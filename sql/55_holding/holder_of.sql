create or replace function occupancy.holder_of(session_id uuid)
returns text
language sql stable
as $$
  select format('session %s: ', s.session_id) || case
    when s.reclaimed_at is not null then format('reclaimed at %s', s.reclaimed_at)
    when s.ended_at is not null then format('ended at %s', s.ended_at)
    when s.holder_epoch is null then 'held by nobody, it runs'
    else format('held by manager %s, epoch %s', coalesce(m.manager, 'unknown'), s.holder_epoch)
  end
  from occupancy.session s
  left join occupancy.manager m on m.epoch = s.holder_epoch
  where s.session_id = holder_of.session_id;
$$;

comment on function occupancy.holder_of(uuid) is
  'Internal. Who holds a session now, for a message; NULL for an id that nobody has.';
revoke all on function occupancy.holder_of(uuid) from public;
