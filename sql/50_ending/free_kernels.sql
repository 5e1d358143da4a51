create or replace function occupancy.free_kernels(held occupancy.session, only_kernel uuid)
returns boolean
language plpgsql volatile
as $$
declare
  is_system constant boolean := held.session_type = 'system';
  active constant boolean := held.status = 'RUNNING';
  ends constant boolean := only_kernel is null or not exists (
    select from occupancy.kernel k
    where k.session_id = held.session_id and k.ended_at is null and k.kernel_id <> only_kernel);
  given_back bigint := 0;
  live record;
  agent text;
  freed_there jsonb;
  freed jsonb;
  moment timestamptz;
begin
  -- Lock order: the key, then the agents by id, a row at a time (see CONTRIBUTING on locks), then
  -- the quotas. The session's row is locked, so its kernels rest.
  if active then
    perform from occupancy.keypair p where p.access_key = held.access_key for no key update;
  end if;
  for live in
    select k.agent_id, coalesce(k.settled_slots, k.requested_slots) as slots
    from occupancy.kernel k
    where k.session_id = held.session_id
      and k.ended_at is null and (only_kernel is null or k.kernel_id = only_kernel)
    order by k.agent_id
  loop
    if agent <> live.agent_id then
      perform occupancy.free_agent(agent, freed_there);
      freed_there := null;
    end if;
    agent := live.agent_id;
    freed_there := coalesce(occupancy.slots_plus(freed_there, live.slots), live.slots);
    freed := coalesce(occupancy.slots_plus(freed, live.slots), live.slots);
  end loop;
  if agent is not null then
    perform occupancy.free_agent(agent, freed_there);
  end if;

  moment := occupancy.clock();
  update occupancy.kernel k set ended_at = moment
  where k.session_id = held.session_id and k.ended_at is null
    and (only_kernel is null or k.kernel_id = only_kernel);
  if ends then
    update occupancy.session s set status = 'TERMINATED', ended_at = moment
    where s.session_id = held.session_id;
  end if;
  -- The key is charged with rows of its set: one that somebody deleted by hand is off it already,
  -- one that somebody put under another key is for audit() to name.
  if active and ends then
    delete from occupancy.session_concurrency c
    where c.session_id = held.session_id and c.access_key = held.access_key and c.system = is_system;
    get diagnostics given_back = row_count;
  end if;
  if active then
    update occupancy.keypair p
    set compute_used = occupancy.count_minus(
          p.compute_used, case when is_system then 0 else given_back end,
          'keypair ' || p.access_key),
        system_used = occupancy.count_minus(
          p.system_used, case when is_system then given_back else 0 end,
          'keypair ' || p.access_key),
        occupied_slots = case when is_system or freed is null then p.occupied_slots
                              else occupancy.slots_minus(
                                p.occupied_slots, freed, 'keypair ' || p.access_key) end
    where p.access_key = held.access_key;
  end if;
  if active and not is_system and exists (select from occupancy.quota) then
    perform occupancy.charge_quotas(held, ends::integer, coalesce(freed, '{}'), '{}');
  end if;
  return ends;
end;
$$;

comment on function occupancy.free_kernels(occupancy.session, uuid) is
  'Internal. Ends one kernel, or with NULL all, of a session whose row the caller has locked, and '
  'frees what they hold; the last one ends the session. Returns whether the session ended.';
revoke all on function occupancy.free_kernels(occupancy.session, uuid) from public;
