create or replace function occupancy.end_sessions(session_ids uuid[])
returns void
language plpgsql volatile
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
declare
  -- A slot before its key, as in free_kernels.
  slotless constant uuid[] := occupancy.give_back_slots(session_ids);
  has_quotas constant boolean := occupancy.lock_charged(session_ids);
  moment timestamptz;
  -- Those who are charged: a terminating session occupies agents alone.
  batch constant occupancy.batch := row(
    array(
      select row(i.position, s.session_id, s.access_key, s.session_type, s.project, s.user_id,
                 s.resource_group, s.domain, null, null, null, null, null)::occupancy.asked_session
      from unnest(session_ids) with ordinality as i (session_id, position)
      join occupancy.session s on s.session_id = i.session_id
      where s.session_id = any (session_ids) and s.status = 'RUNNING'),
    array(
      select row(i.position, k.position, k.session_id, k.kernel_id, k.id_generated, k.agent_id,
                 coalesce(k.settled_slots, k.requested_slots))::occupancy.asked_kernel
      from unnest(session_ids) with ordinality as i (session_id, position)
      join occupancy.kernel k on k.session_id = i.session_id
      where k.session_id = any (session_ids) and k.ended_at is null),
    null)::occupancy.batch;
  freed occupancy.counter[];
begin
  -- Each session is going to be taken off its key, but a key is charged with rows of its set: one
  -- that somebody deleted by hand is off it already.
  if cardinality(slotless) > 0 then
    update occupancy.keypair p
    set compute_used = p.compute_used + m.compute, system_used = p.system_used + m.system
    from (
      select s.access_key, count(*) filter (where s.session_type <> 'system') as compute,
             count(*) filter (where s.session_type = 'system') as system
      from occupancy.session s
      where s.session_id = any (slotless)
      group by s.access_key
    ) as m
    where p.access_key = m.access_key;
  end if;
  freed := occupancy.freed_counters(
    occupancy.read_counters(occupancy.weigh_batch(batch, has_quotas), has_quotas));
  moment := occupancy.clock();
  update occupancy.kernel k set ended_at = moment
  where k.kernel_id = any (array(select n.kernel_id from unnest(batch.kernels) as n));
  update occupancy.session s set status = 'TERMINATED', ended_at = moment
  where s.session_id = any (session_ids);
  perform occupancy.charge_counters(freed);
end;
$$;

comment on function occupancy.end_sessions(uuid[]) is
  'Internal. Ends sessions that live and whose rows the caller has locked, and frees what they '
  'hold: free_kernels for many. OC010.';
revoke all on function occupancy.end_sessions(uuid[]) from public;
