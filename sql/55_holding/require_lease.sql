create or replace function occupancy.require_lease(
  held occupancy.session,
  manager text,
  epoch bigint
)
returns void
language plpgsql volatile
as $$
begin
  -- What an earlier start of the same manager left is its successor's to end.
  if held.holder_epoch <> epoch and not exists (
    select from occupancy.manager m
    where m.epoch = held.holder_epoch and m.manager = require_lease.manager
  ) then
    raise exception 'another manager holds the session'
      using errcode = 'OC009', detail = occupancy.holder_of(held.session_id),
            hint = 'call without a manager to act whoever holds it';
  end if;
end;
$$;

comment on function occupancy.require_lease(occupancy.session, text, bigint) is
  'Internal. Refuses (OC009) a manager to act on a session, whose row is locked, that another one '
  'holds. A confirmed session, or one without a lease, is free to all.';
revoke all on function occupancy.require_lease(occupancy.session, text, bigint) from public;
