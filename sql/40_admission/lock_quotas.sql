create or replace function occupancy.lock_quotas(names occupancy.quota_name[])
returns void
language plpgsql volatile
as $$
declare
  name record;
begin
  for name in
    select distinct n.scope, n.scope_id collate "C" as scope_id,
           array_position(array['user', 'project', 'resource_group', 'domain'], n.scope) as position
    from unnest(names) as n
    order by position, scope_id
  loop
    perform from occupancy.quota q
    where q.scope_id = name.scope_id and q.scope = name.scope
    for no key update;
  end loop;
end;
$$;

comment on function occupancy.lock_quotas(occupancy.quota_name[]) is
  'Internal. Locks quotas, the most shared last.';
revoke all on function occupancy.lock_quotas(occupancy.quota_name[]) from public;
