create or replace function occupancy.lock_for_requests(
  inout requests occupancy.request[],
  out claimed uuid[]
)
language plpgsql volatile
as $$
declare
  taken_ids uuid[];
  pruned_ids uuid[];
  unknown_keys text[] := array(
    select distinct r.access_key from unnest(requests) as r where r.access_key is not null);
  unknown_agents text[] :=
    array(select distinct unnest((r.placed).agent_ids) from unnest(requests) as r);
begin
  -- The ids first, sorted. A claim that is withdrawn later keeps others waiting until we commit,
  -- just as one that stays.
  with asked as (
    select distinct on (r.session_id)
           r.session_id, r.access_key, r.session_type, r.project, k.user_id, k.domain,
           a.resource_group
    from unnest(requests) with ordinality as r (
      session_id, access_key, session_type, project, placed, refusal, position)
    -- Of the first request, even if nobody knows its key or agent: should they be registered before
    -- they are locked, a claim would come too late, and that of another request would be wrong.
    left join occupancy.keypair k on k.access_key = r.access_key
    left join occupancy.agent a on a.agent_id = (r.placed).agent_ids[1]
    where r.session_id is not null
    order by r.session_id, r.position
  ), claims as (
    insert into occupancy.session (
      session_id, status, access_key, session_type, user_id, project, resource_group, domain,
      created_at)
    select k.session_id, 'RUNNING', k.access_key, k.session_type, k.user_id, k.project,
           k.resource_group, k.domain, occupancy.clock()
    from asked k
    where not exists (select from occupancy.session s where s.session_id = k.session_id)
    order by k.session_id
    on conflict do nothing
    returning session_id
  )
  select array(select c.session_id from claims c),
         array(select k.session_id from asked k except select c.session_id from claims c)
  into claimed, taken_ids;
  -- Those that are there stay until we commit. Were one pruned, somebody else could claim it and
  -- wait for a key of ours, while we come to wait for his claim.
  pruned_ids := array(
    select unnest(taken_ids)
    except
    select held.session_id
    from (
      select s.session_id from occupancy.session s
      where s.session_id = any (taken_ids)
      order by s.session_id for share
    ) as held);

  unknown_keys := array(
    select unnest(unknown_keys)
    except all
    select held.access_key
    from (
      select k.access_key from occupancy.keypair k
      where k.access_key = any (unknown_keys)
      order by k.access_key for no key update
    ) as held);
  unknown_agents := array(
    select unnest(unknown_agents)
    except all
    select held.agent_id
    from (
      select a.agent_id from occupancy.agent a
      where a.agent_id = any (unknown_agents)
      order by a.agent_id for no key update
    ) as held);
  perform from occupancy.lock_quotas(array(
    select distinct row(scopes.scope, scopes.scope_id)::occupancy.quota_name
    from unnest(requests) as r
    join occupancy.keypair k on k.access_key = r.access_key
    left join occupancy.agent a on a.agent_id = (r.placed).agent_ids[1]
    cross join lateral (values
      ('user', k.user_id), ('project', r.project),
      ('resource_group', a.resource_group), ('domain', k.domain)
    ) as scopes (scope, scope_id)
    where r.session_type <> 'system' and scopes.scope_id is not null
  ));
  -- What the locks missed is not there for this batch: locked later, it would be out of order.
  if cardinality(pruned_ids) > 0 or cardinality(unknown_keys) > 0
     or cardinality(unknown_agents) > 0
  then
    requests := occupancy.refuse_missing(requests, pruned_ids, unknown_keys, unknown_agents);
  end if;
end;
$$;

comment on function occupancy.lock_for_requests(occupancy.request[]) is
  'Internal. Takes all locks of a batch in the one order: ids, keys, agents, quotas. Returns the '
  'ids that it claimed, each for its first request, and refuses requests of what is not there to '
  'be locked.';
revoke all on function occupancy.lock_for_requests(occupancy.request[]) from public;
