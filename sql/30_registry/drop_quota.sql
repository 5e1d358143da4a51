create or replace function occupancy.drop_quota(scope text, scope_id text)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  charged boolean;
begin
  perform occupancy.check_word(
    scope, array['user', 'project', 'resource_group', 'domain'], 'scope');
  perform occupancy.check_name(scope_id, 'scope_id');
  select q.used > 0 or q.occupied_slots <> '{}' into charged
  from occupancy.quota q
  where q.scope = drop_quota.scope and q.scope_id = drop_quota.scope_id
  for update;
  if not found then
    return row('unknown')::occupancy.registration;
  end if;
  if charged then
    return row('in_use')::occupancy.registration;
  end if;
  delete from occupancy.quota q
  where q.scope = drop_quota.scope and q.scope_id = drop_quota.scope_id;
  return row('dropped')::occupancy.registration;
end;
$$;

comment on function occupancy.drop_quota(text, text) is
  'Removes a quota: dropped, in_use (active sessions are charged to it; lift its limits with '
  'put_quota instead) or unknown. OC005.';
revoke all on function occupancy.drop_quota(text, text) from public;
grant execute on function occupancy.drop_quota(text, text) to occupancy_admin;
