create or replace function occupancy.lock_charged(session_ids uuid[])
returns boolean
language plpgsql volatile
as $$
begin
  perform occupancy.lock_keys(array(
    select s.access_key from occupancy.session s where s.session_id = any (session_ids)));
  perform occupancy.lock_agents(array(
    select k.agent_id from occupancy.kernel k
    where k.session_id = any (session_ids) and k.ended_at is null));
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
