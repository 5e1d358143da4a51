create or replace function occupancy.register_manager(
  manager text,
  ttl interval default '30 s',
  grace interval default null
)
returns occupancy.holder
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.check_name(manager, 'manager');
  held_for constant interval := occupancy.check_span(ttl, '1 s', '1 day', 'ttl');
  kept_for constant interval := occupancy.check_span(coalesce(grace, ttl), '0', '1 day', 'grace');
  moment timestamptz;
  registered occupancy.holder;
begin
  -- Calls of the epoch before are finished first; later ones find it fenced.
  perform pg_advisory_xact_lock(1868788290, hashtext(manager));
  moment := occupancy.clock();
  update occupancy.manager m set fenced_at = moment
  where m.manager = register_manager.manager and m.fenced_at is null;
  -- A conflict is a start that an old snapshot does not show: 40001.
  insert into occupancy.manager as m (manager, ttl, grace, registered_at, beat_at)
  values (register_manager.manager, held_for, kept_for, moment, moment)
  on conflict do nothing
  returning m.manager, m.epoch into registered;
  return registered;
end;
$$;

comment on function occupancy.register_manager(text, interval, interval) is
  'A manager starts: answers its epoch, higher than any before, and fences earlier starts of the '
  'same name. A session that it reserves is its own until it confirms it. Silent for ttl (1 s to a '
  'day) it is suspect; silent for grace (up to a day; default: as long as ttl) beyond that, '
  'reclaim_expired frees what it holds. In a transaction of its own: it waits for calls under way '
  'of the epoch that it fences. OC005.';
revoke all on function occupancy.register_manager(text, interval, interval) from public;
grant execute on function occupancy.register_manager(text, interval, interval)
  to occupancy_manager;
