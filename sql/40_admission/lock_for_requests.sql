create or replace function occupancy.lock_for_requests(requests occupancy.request[])
returns void
language plpgsql volatile
as $$
declare
  claimed uuid[];
begin
  -- The ids first, sorted. A claim that is withdrawn keeps others waiting until we commit, just
  -- as one that stays, so that each element can then claim its own id as a single call does.
  with claims as (
    insert into occupancy.session (session_id, status, created_at, ended_at)
    select ids.session_id, 'CANCELLED', occupancy.clock(), occupancy.clock()
    from (select distinct r.session_id from unnest(requests) as r) as ids
    where ids.session_id is not null
      and not exists (select from occupancy.session s where s.session_id = ids.session_id)
    order by ids.session_id
    on conflict do nothing
    returning session_id
  )
  select array_agg(c.session_id) into claimed from claims c;
  delete from occupancy.session s where s.session_id = any (claimed);
  -- Those that are there stay until we commit. Were one pruned, somebody else could claim it and
  -- wait for a key of ours, while we come to wait for his claim.
  perform from occupancy.session s
  where s.session_id = any (array(select r.session_id from unnest(requests) as r))
  order by s.session_id for share;

  perform from occupancy.keypair k
  where k.access_key = any (array(select r.access_key from unnest(requests) as r))
  order by k.access_key for no key update;
  perform from occupancy.agent a
  where a.agent_id = any (array(select unnest((r.placed).agent_ids) from unnest(requests) as r))
  order by a.agent_id for no key update;
  perform from occupancy.lock_quotas(array(
    select row(scopes.scope, scopes.scope_id)::occupancy.quota_name
    from unnest(requests) as r
    left join occupancy.keypair k on k.access_key = r.access_key
    left join occupancy.agent a on a.agent_id = (r.placed).agent_ids[1]
    cross join lateral (values
      ('user', k.user_id), ('project', r.project),
      ('resource_group', a.resource_group), ('domain', k.domain)
    ) as scopes (scope, scope_id)
    where r.session_type <> 'system' and scopes.scope_id is not null
  ));
end;
$$;

comment on function occupancy.lock_for_requests(occupancy.request[]) is
  'Internal. Takes all locks of a batch in the one order: ids, keys, agents, quotas.';
revoke all on function occupancy.lock_for_requests(occupancy.request[]) from public;
