create or replace function occupancy.lock_charged(session_ids uuid[])
returns void
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
  perform occupancy.lock_quotas(array(
    select row(scopes.scope, scopes.scope_id)::occupancy.quota_name
    from occupancy.session s
    cross join lateral (values
      ('user', s.user_id), ('project', s.project),
      ('resource_group', s.resource_group), ('domain', s.domain)
    ) as scopes (scope, scope_id)
    where s.session_id = any (session_ids) and scopes.scope_id is not null
  ));
end;
$$;

comment on function occupancy.lock_charged(uuid[]) is
  'Internal. Locks all that sessions, whose rows the caller has locked, are charged to, in the one '
  'order: keys, agents, quotas.';
revoke all on function occupancy.lock_charged(uuid[]) from public;
