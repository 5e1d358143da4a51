create or replace function occupancy.free_kernels(held occupancy.session, only_kernel uuid)
returns boolean
language plpgsql volatile
as $$
declare
  system constant boolean := held.session_type = 'system';
  active constant boolean := held.status = 'RUNNING';
  ends constant boolean := only_kernel is null or not exists (
    select from occupancy.kernel k
    where k.session_id = held.session_id and k.ended_at is null and k.kernel_id <> only_kernel);
  slot_freed constant integer := (active and ends)::integer;
  live record;
  key_occupied jsonb;
  agent_occupied jsonb;
  freed jsonb := jsonb '{}';
  agent_ids text[] := array[]::text[];
  agents_occupied jsonb[];
  n integer := 0;
  moment timestamptz;
begin
  -- Lock order: the key, then the agents by id, a row at a time (see CONTRIBUTING on locks). The
  -- session's row is locked, so its kernels rest.
  select p.occupied_slots into key_occupied
  from occupancy.keypair p where p.access_key = held.access_key
  for no key update;
  for live in
    select k.agent_id, coalesce(k.settled_slots, k.requested_slots) as slots
    from occupancy.kernel k
    where k.session_id = held.session_id
      and k.ended_at is null and (only_kernel is null or k.kernel_id = only_kernel)
    order by k.agent_id
  loop
    if n = 0 or agent_ids[n] <> live.agent_id then
      select a.occupied_slots into agent_occupied
      from occupancy.agent a where a.agent_id = live.agent_id
      for no key update;
      n := n + 1;
      agent_ids[n] := live.agent_id;
      agents_occupied[n] := agent_occupied;
    end if;
    -- NULL: somebody deleted the agent by hand; audit() names it.
    if agents_occupied[n] is not null then
      agents_occupied[n] := occupancy.slots_minus(
        agents_occupied[n], live.slots, 'agent ' || live.agent_id);
    end if;
    freed := occupancy.slots_plus(freed, live.slots);
  end loop;
  if active and not system then
    key_occupied := occupancy.slots_minus(key_occupied, freed, 'keypair ' || held.access_key);
    perform occupancy.charge_quotas(held, slot_freed, freed, '{}');
  end if;

  moment := occupancy.clock();
  -- The key is charged with rows of its set: one that somebody deleted by hand is off it already,
  -- one that somebody put under another key is for audit() to name.
  with slot_given_back as (
    delete from occupancy.session_concurrency c
    where active and ends and c.session_id = held.session_id and c.access_key = held.access_key
      and c.system = (held.session_type = 'system')
    returning c.system
  ), agents_freed as (
    update occupancy.agent a set occupied_slots = c.occupied
    from unnest(agent_ids, agents_occupied) as c (agent_id, occupied)
    where a.agent_id = c.agent_id
  ), key_freed as (
    update occupancy.keypair p
    set compute_used = occupancy.count_minus(
          p.compute_used, (select count(*) from slot_given_back g where not g.system),
          'keypair ' || p.access_key),
        system_used = occupancy.count_minus(
          p.system_used, (select count(*) from slot_given_back g where g.system),
          'keypair ' || p.access_key),
        occupied_slots = coalesce(key_occupied, p.occupied_slots)
    where active and p.access_key = held.access_key
  ), session_ended as (
    update occupancy.session s set status = 'TERMINATED', ended_at = moment
    where ends and s.session_id = held.session_id
  )
  update occupancy.kernel k set ended_at = moment
  where k.session_id = held.session_id and k.ended_at is null
    and (only_kernel is null or k.kernel_id = only_kernel);
  return ends;
end;
$$;

comment on function occupancy.free_kernels(occupancy.session, uuid) is
  'Internal. Ends one kernel, or with NULL all, of a session whose row the caller has locked, and '
  'frees what they hold; the last one ends the session. Returns whether the session ended.';
revoke all on function occupancy.free_kernels(occupancy.session, uuid) from public;
