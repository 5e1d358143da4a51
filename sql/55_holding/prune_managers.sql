create or replace function occupancy.prune_managers(older_than interval)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  span constant interval := occupancy.check_span(older_than, '0', '1000 years', 'older_than');
  silent record;
  forgotten bigint := 0;
begin
  for silent in
    select m.manager, m.epoch from occupancy.manager m
    where m.beat_at + m.ttl + m.grace <= occupancy.clock() - span
      and not exists (
        select from occupancy.session s
        where s.holder_epoch = m.epoch and s.ended_at is null)
    order by m.epoch
    limit 1000
    for update skip locked
  loop
    -- It may be silent and yet be reserving: then it can wait for a later call.
    if pg_try_advisory_xact_lock(1868788290, hashtext(silent.manager)) then
      delete from occupancy.manager m
      where m.epoch = silent.epoch
        and not exists (
          select from occupancy.session s
          where s.holder_epoch = m.epoch and s.ended_at is null);
      forgotten := forgotten + found::integer;
    end if;
  end loop;
  return forgotten;
end;
$$;

comment on function occupancy.prune_managers(interval) is
  'Forgets starts of managers that hold no session and whose ttl and grace period ran out longer '
  'ago than older_than, at most 1,000 a call, and returns how many. One that comes back '
  'nevertheless is fenced (OC009) and registers anew. OC005.';
revoke all on function occupancy.prune_managers(interval) from public;
grant execute on function occupancy.prune_managers(interval) to occupancy_manager;
