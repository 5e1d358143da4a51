create or replace function occupancy.require_holder(
  manager text,
  epoch bigint,
  session_id uuid default null,
  kernel_id uuid default null
)
returns boolean
language plpgsql volatile
as $$
declare
  checked constant boolean := occupancy.check_name(manager, 'manager');
begin
  if epoch is null then
    raise exception 'epoch is missing'
      using errcode = 'OC005', detail = format('manager %s', manager),
            hint = 'pass the epoch that register_manager answered with';
  end if;
  -- Before any other lock: a newer start of this manager waits until we are done, and whoever comes
  -- after it is told. In memory, since all calls of a busy manager would share a row's lock.
  -- 1868788290 = 'occ' and a running number.
  perform pg_advisory_xact_lock_shared(1868788290, hashtext(manager));
  if not occupancy.fresh_snapshots() then
    perform from occupancy.manager m
    where m.manager = require_holder.manager and m.epoch = require_holder.epoch
    for key share;
  end if;
  if not exists (
    select from occupancy.manager m
    where m.manager = require_holder.manager and m.epoch = require_holder.epoch
      and m.fenced_at is null
  ) then
    perform occupancy.refuse_holder(manager, epoch, coalesce(session_id, (
      select k.session_id from occupancy.kernel k where k.kernel_id = require_holder.kernel_id)));
  end if;
  return true;
end;
$$;

comment on function occupancy.require_holder(text, bigint, uuid, uuid) is
  'Internal. Refuses (OC009) a manager whose epoch is not, or no longer, the one that counts, and '
  'keeps it in force until the transaction ends. The session or kernel is for the message alone. '
  'OC005.';
revoke all on function occupancy.require_holder(text, bigint, uuid, uuid) from public;
