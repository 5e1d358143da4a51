create or replace function occupancy.cancel_pending(session_ids uuid[], reason text)
returns void
language plpgsql volatile
as $$
declare
  moment constant timestamptz := occupancy.clock();
begin
  -- The keys first: they stand for their queues in the lock order.
  perform from occupancy.keypair k
  where k.access_key = any (array(
    select s.access_key from occupancy.session s where s.session_id = any (session_ids)))
  order by k.access_key for no key update;
  update occupancy.session s set status = 'CANCELLED', ended_at = moment
  where s.session_id = any (session_ids);
  update occupancy.session_history h set reason = cancel_pending.reason
  where h.session_id = any (session_ids) and h.to_status = 'CANCELLED';
end;
$$;

comment on function occupancy.cancel_pending(uuid[], text) is
  'Internal. Cancels PENDING sessions whose rows are held.';
revoke all on function occupancy.cancel_pending(uuid[], text) from public;
