create or replace function occupancy.turn_away(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  epoch bigint
)
returns occupancy.admission
language plpgsql volatile
as $$
declare
  fresh constant boolean := occupancy.fresh_snapshots();
  key record;
begin
  -- Id and counts in one statement: read apart, a duplicate at limit 1 could miss its own row and
  -- then find the key full.
  select k.*, (select s.status from occupancy.session s
               where s.session_id = turn_away.session_id) as session_status
  into key
  from (values (true)) as always
  left join occupancy.read_key(access_key, session_type = 'system') as k on true;
  if key.session_status is not null then
    return occupancy.hold(
      occupancy.repeated_reservation(
        session_id, access_key, session_type, project, placed, fresh),
      epoch);
  elsif key.user_id is null then
    perform occupancy.refuse_key(access_key);
    return null;
  elsif not occupancy.agents_known(placed.agent_ids) then
    perform occupancy.refuse_agents(placed.agent_ids);
    return null;
  elsif not key.is_active or key.used >= key.max then
    -- What an old snapshot shows full may be free by now: locking it then fails with 40001.
    if not fresh then
      perform occupancy.require_present_limits();
      perform from occupancy.keypair k
      where k.access_key = turn_away.access_key for no key update;
    end if;
    return occupancy.key_rejection(
      session_id, access_key, session_type, cardinality(placed.kernel_ids),
      key.max_kernels_per_session, key.is_active, key.used, key.max);
  end if;
  return null;
end;
$$;

comment on function occupancy.turn_away(
  uuid, text, text, text, occupancy.placement, bigint
) is
  'Internal. The answer to a reservation that needs no look at how full anything but its key is, '
  'without a lock: its id is taken, or its key is inactive or at its limit of sessions. NULL if '
  'neither is so. OC002, OC003, OC005 for agents of two groups.';
revoke all on function occupancy.turn_away(
  uuid, text, text, text, occupancy.placement, bigint
) from public;
