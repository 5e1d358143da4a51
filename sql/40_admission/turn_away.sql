create or replace function occupancy.turn_away(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  epoch bigint,
  is_active boolean,
  used bigint,
  max bigint,
  max_kernels_per_session bigint
)
returns occupancy.admission
language plpgsql volatile
as $$
declare
  fresh constant boolean := occupancy.fresh_snapshots();
  seen record;
begin
  -- The key was read before the id, and must have been: whoever filled it is seen here, also if it
  -- was a duplicate of this very call. Read the other way round, a duplicate at limit 1 could miss
  -- its own row and then find the key full.
  select (select s.status from occupancy.session s
          where s.session_id = turn_away.session_id) as status,
         array(select a.resource_group from occupancy.agent a
               where a.agent_id = any (placed.agent_ids)) as groups
  into seen;
  if seen.status is not null then
    return occupancy.hold(
      occupancy.repeated_reservation(
        session_id, access_key, session_type, project, placed, fresh),
      epoch);
  elsif is_active is null then
    perform occupancy.refuse_key(access_key);
    return null;
  elsif cardinality(seen.groups) < cardinality(placed.agent_ids)
        or seen.groups[1] <> any (seen.groups) then
    perform occupancy.refuse_agents(placed.agent_ids);
    return null;
  elsif not is_active or used >= max then
    -- What an old snapshot shows full may be free by now: locking it then fails with 40001.
    if not fresh then
      perform occupancy.require_present_limits();
      perform from occupancy.keypair k
      where k.access_key = turn_away.access_key for no key update;
    end if;
    return occupancy.key_rejection(
      session_id, access_key, session_type, cardinality(placed.kernel_ids),
      max_kernels_per_session, is_active, used, max);
  end if;
  return null;
end;
$$;

comment on function occupancy.turn_away(
  uuid, text, text, text, occupancy.placement, bigint, boolean, bigint, bigint, bigint
) is
  'Internal. The answer to a reservation that needs no look at how full anything but its key is, '
  'without a lock: its id is taken, or its key is inactive or at its limit of sessions. NULL if '
  'neither is so. OC002, OC003, OC005 for agents of two groups.';
revoke all on function occupancy.turn_away(
  uuid, text, text, text, occupancy.placement, bigint, boolean, bigint, bigint, bigint
) from public;
