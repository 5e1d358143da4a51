create or replace function occupancy.lock_quotas(
  users text[],
  projects text[],
  resource_groups text[],
  domains text[]
)
returns boolean
language plpgsql volatile
as $$
declare
  any_locked boolean := false;
begin
  perform from occupancy.quota q
  where q.scope = 'user' and q.scope_id = any (users)
  order by q.scope_id for no key update;
  any_locked := any_locked or found;
  perform from occupancy.quota q
  where q.scope = 'project' and q.scope_id = any (projects)
  order by q.scope_id for no key update;
  any_locked := any_locked or found;
  perform from occupancy.quota q
  where q.scope = 'resource_group' and q.scope_id = any (resource_groups)
  order by q.scope_id for no key update;
  any_locked := any_locked or found;
  perform from occupancy.quota q
  where q.scope = 'domain' and q.scope_id = any (domains)
  order by q.scope_id for no key update;
  return any_locked or found;
end;
$$;

comment on function occupancy.lock_quotas(text[], text[], text[], text[]) is
  'Internal. Locks the quotas that there are, the most shared last, and returns whether there are '
  'any.';
revoke all on function occupancy.lock_quotas(text[], text[], text[], text[]) from public;
