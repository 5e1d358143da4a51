create or replace function occupancy.read_context(
  session_id uuid,
  access_key text,
  project text,
  agent_ids text[]
)
-- A set, so that callers' plans take it in instead of planning it at every call.
returns setof occupancy.reservation_context
language sql stable
as $$
  select
    (select s.status from occupancy.session s where s.session_id = read_context.session_id),
    k.user_id, k.domain, k.is_active, k.compute_used, k.system_used, p,
    a.known, a.first_group, a.last_group,
    exists (select from occupancy.quota q where q.scope = 'user' and q.scope_id = k.user_id)
      or exists (select from occupancy.quota q
                 where q.scope = 'project' and q.scope_id = read_context.project)
      or exists (select from occupancy.quota q
                 where q.scope = 'resource_group' and q.scope_id = a.first_group)
      or exists (select from occupancy.quota q where q.scope = 'domain' and q.scope_id = k.domain)
  from (
    select count(*) as known, min(a.resource_group) as first_group,
           max(a.resource_group) as last_group
    from occupancy.agent a
    where a.agent_id = any (read_context.agent_ids)
  ) as a
  left join occupancy.keypair k on k.access_key = read_context.access_key
  left join occupancy.resource_policy p on p.name = k.resource_policy;
$$;

comment on function occupancy.read_context(uuid, text, text, text[]) is
  'Internal. What is known about a reservation before anything is locked, in one snapshot.';
revoke all on function occupancy.read_context(uuid, text, text, text[]) from public;
