create or replace function occupancy.lock_quotas(names occupancy.quota_name[])
returns void
language plpgsql volatile
as $$
begin
  perform from occupancy.quota q
  where (q.scope, q.scope_id) in (select n.scope, n.scope_id from unnest(names) as n)
  order by array_position(array['user', 'project', 'resource_group', 'domain'], q.scope::text),
           q.scope_id
  for no key update;
end;
$$;

comment on function occupancy.lock_quotas(occupancy.quota_name[]) is
  'Internal. Locks quotas, the most shared last.';
revoke all on function occupancy.lock_quotas(occupancy.quota_name[]) from public;
