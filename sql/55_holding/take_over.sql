create or replace function occupancy.take_over(session_id uuid, epoch bigint)
returns void
language plpgsql volatile
as $$
declare
  holder_epoch bigint;
begin
  select s.holder_epoch into holder_epoch
  from occupancy.session s
  where s.session_id = take_over.session_id and s.holder_epoch <> take_over.epoch;
  if holder_epoch is null then
    return;
  end if;
  -- Locked, so that a beat comes before, and is seen, or after, and is told.
  perform from occupancy.manager m where m.epoch = holder_epoch for share;
  if exists (
    select from occupancy.manager m
    where m.epoch = holder_epoch and m.fenced_at is null
      and m.beat_at + m.ttl > occupancy.clock()
  ) then
    return;
  end if;
  update occupancy.session s set holder_epoch = take_over.epoch
  where s.session_id = take_over.session_id;
end;
$$;

comment on function occupancy.take_over(uuid, bigint) is
  'Internal. Who repeats a reservation holds it from then on, if its present holder is suspect; '
  'the caller has locked the session''s row.';
revoke all on function occupancy.take_over(uuid, bigint) from public;
