create or replace function occupancy.drop_resource_policy(name text)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
begin
  perform occupancy.check_name(name, 'name');
  -- Excludes a put_keypair that would refer to it.
  perform from occupancy.resource_policy p where p.name = drop_resource_policy.name for update;
  if not found then
    return row('unknown')::occupancy.registration;
  end if;
  if exists (select from occupancy.keypair k where k.resource_policy = drop_resource_policy.name)
  then
    return row('in_use')::occupancy.registration;
  end if;
  delete from occupancy.resource_policy p where p.name = drop_resource_policy.name;
  return row('dropped')::occupancy.registration;
end;
$$;

comment on function occupancy.drop_resource_policy(text) is
  'Removes a resource policy: dropped, in_use (a keypair has it) or unknown. OC005.';
revoke all on function occupancy.drop_resource_policy(text) from public;
grant execute on function occupancy.drop_resource_policy(text) to occupancy_admin;
