create or replace function occupancy.recalc_queue(access_key text)
returns setof occupancy.correction
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean :=
    occupancy.check_name(access_key, 'access_key') and occupancy.require_fresh_snapshots();
  held occupancy.key_queue;
  use record;
begin
  -- Whoever changes the queue of a key holds the key.
  perform from occupancy.keypair k where k.access_key = recalc_queue.access_key for no key update;
  if not found then
    perform occupancy.refuse_key(access_key);
  end if;
  insert into occupancy.key_queue (access_key, sessions, slots)
  values (recalc_queue.access_key, 0, '{}')
  on conflict do nothing;
  select q.* into held from occupancy.key_queue q where q.access_key = recalc_queue.access_key;
  select u.sessions, u.slots into use from occupancy.queue_use(access_key) as u;
  if (held.sessions, held.slots) is distinct from (use.sessions, use.slots) then
    update occupancy.key_queue q set sessions = use.sessions, slots = use.slots
    where q.access_key = held.access_key;
    return next row(
      'queue of keypair ' || held.access_key,
      jsonb_build_object('sessions', held.sessions, 'slots', held.slots),
      jsonb_build_object('sessions', use.sessions, 'slots', use.slots)
    )::occupancy.correction;
  end if;
end;
$$;

comment on function occupancy.recalc_queue(text) is
  'Mends the pending counts of one access key from its PENDING sessions. A row if they were wrong. '
  'Safe while others enqueue, tick and cancel. OC002, OC005, OC008.';
revoke all on function occupancy.recalc_queue(text) from public;
grant execute on function occupancy.recalc_queue(text) to occupancy_admin;
