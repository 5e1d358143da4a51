create or replace function occupancy.lock_charged(session_ids uuid[])
returns boolean
language plpgsql volatile
as $$
begin
  perform from occupancy.keypair p
  where p.access_key = any (array(
    select s.access_key from occupancy.session s where s.session_id = any (session_ids)))
  order by p.access_key for no key update;
  perform from occupancy.agent a
  where a.agent_id = any (array(
    select k.agent_id from occupancy.kernel k
    where k.session_id = any (session_ids) and k.ended_at is null))
  order by a.agent_id for no key update;
  -- Nobody creates one before this transaction ends (see enter_ledger).
  if not exists (select from occupancy.quota) then
    return false;
  end if;
  return occupancy.lock_quotas(
    array(select s.user_id from occupancy.session s where s.session_id = any (session_ids)),
    array(select s.project from occupancy.session s where s.session_id = any (session_ids)),
    array(select s.resource_group from occupancy.session s where s.session_id = any (session_ids)),
    array(select s.domain from occupancy.session s where s.session_id = any (session_ids)));
end;
$$;

comment on function occupancy.lock_charged(uuid[]) is
  'Internal. Locks all that sessions, whose rows the caller has locked, are charged to, in the one '
  'order: keys, agents, quotas. Returns whether there are quotas among it.';
revoke all on function occupancy.lock_charged(uuid[]) from public;
