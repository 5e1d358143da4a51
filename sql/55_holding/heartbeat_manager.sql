create or replace function occupancy.heartbeat_manager(manager text, epoch bigint)
returns occupancy.beat
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  holder constant boolean := occupancy.require_holder(manager, epoch);
  suspect_at timestamptz;
  moment timestamptz;
begin
  -- The clock is read after the lock: who reclaims from us right now has come first.
  select m.beat_at + m.ttl into suspect_at
  from occupancy.manager m
  where m.manager = heartbeat_manager.manager and m.epoch = heartbeat_manager.epoch
  for no key update;
  moment := occupancy.clock();
  update occupancy.manager m set beat_at = moment
  where m.manager = heartbeat_manager.manager and m.epoch = heartbeat_manager.epoch;
  return row(manager, epoch, case when moment < suspect_at then 'alive' else 'recovered' end)
    ::occupancy.beat;
end;
$$;

comment on function occupancy.heartbeat_manager(text, bigint) is
  'A manager lives: what it holds is held, also if it was suspect, as long as it was not '
  'reclaimed. outcome: alive, or recovered if its ttl had run out; then some may have been '
  'reclaimed, as confirm_session will tell. OC005, OC009 (a newer start has its name, or it was '
  'pruned).';
revoke all on function occupancy.heartbeat_manager(text, bigint) from public;
grant execute on function occupancy.heartbeat_manager(text, bigint) to occupancy_manager;
