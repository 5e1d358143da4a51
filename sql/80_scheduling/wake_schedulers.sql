create or replace function occupancy.wake_schedulers()
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Hops from group to group by their index, however many sessions wait.
set enable_seqscan = off
as $$
declare
  waiting text := '';
  groups bigint := 0;
begin
  loop
    select q.resource_group into waiting
    from occupancy.queued_session q
    where q.resource_group > waiting
    order by q.resource_group
    limit 1;
    exit when not found;
    perform pg_notify('occupancy_queue', waiting);
    groups := groups + 1;
  end loop;
  return groups;
end;
$$;

comment on function occupancy.wake_schedulers() is
  'Tells whoever listens to occupancy_queue which resource groups have PENDING sessions, so that '
  'their schedulers look at once whether there is room by now. Where nobody waits it only reads. '
  'Returns how many groups that were. The Rust client calls it after what makes room; after room '
  'was made by hand, call it in a transaction of its own.';
revoke all on function occupancy.wake_schedulers() from public;
grant execute on function occupancy.wake_schedulers() to occupancy_manager;
