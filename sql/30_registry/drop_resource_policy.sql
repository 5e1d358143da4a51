create or replace function occupancy.drop_resource_policy(name text)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
begin
  perform occupancy.check_name(name, 'name');
  delete from occupancy.resource_policy p where p.name = drop_resource_policy.name;
  return row(case when found then 'dropped' else 'unknown' end)::occupancy.registration;
exception when foreign_key_violation then
  -- The constraint also sees keypairs that are newer than the caller's snapshot.
  return row('in_use')::occupancy.registration;
end;
$$;

comment on function occupancy.drop_resource_policy(text) is
  'Removes a resource policy: dropped, in_use (a keypair has it) or unknown. OC005.';
revoke all on function occupancy.drop_resource_policy(text) from public;
grant execute on function occupancy.drop_resource_policy(text) to occupancy_admin;
