create or replace function occupancy.end_sessions(session_ids uuid[])
returns void
language plpgsql volatile
as $$
declare
  moment timestamptz;
begin
  perform occupancy.lock_charged(session_ids);
  moment := occupancy.clock();
  update occupancy.agent a
  set occupied_slots = occupancy.slots_minus(a.occupied_slots, f.slots, 'agent ' || a.agent_id)
  from (
    select k.agent_id, occupancy.slots_sum(coalesce(k.settled_slots, k.requested_slots)) as slots
    from occupancy.kernel k
    where k.session_id = any (session_ids) and k.ended_at is null
    group by k.agent_id
  ) as f
  where a.agent_id = f.agent_id;
  perform occupancy.uncharge_sessions(session_ids);
  delete from occupancy.session_concurrency c where c.session_id = any (session_ids);
  update occupancy.kernel k set ended_at = moment
  where k.session_id = any (session_ids) and k.ended_at is null;
  update occupancy.session s set status = 'TERMINATED', ended_at = moment
  where s.session_id = any (session_ids);
end;
$$;

comment on function occupancy.end_sessions(uuid[]) is
  'Internal. Ends sessions that live and whose rows the caller has locked, and frees what they '
  'hold: free_kernels for many.';
revoke all on function occupancy.end_sessions(uuid[]) from public;
