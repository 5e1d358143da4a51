create or replace function occupancy.put_keypair(
  access_key text,
  user_id text,
  resource_policy text,
  is_active boolean default true,
  domain text default null
)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  created boolean;
begin
  perform occupancy.check_name(access_key, 'access_key');
  perform occupancy.check_name(user_id, 'user_id');
  perform occupancy.check_name(resource_policy, 'resource_policy');
  if domain is not null then
    perform occupancy.check_name(domain, 'domain');
  end if;
  if is_active is null then
    raise exception 'is_active is missing'
      using errcode = 'OC005', hint = 'pass true or false';
  end if;
  perform from occupancy.resource_policy p where p.name = resource_policy for key share;
  if not found then
    raise exception 'unknown resource policy'
      using errcode = 'OC005', detail = resource_policy,
            hint = 'create it with occupancy.put_resource_policy';
  end if;

  insert into occupancy.keypair as k (access_key, user_id, domain, resource_policy, is_active)
  values (put_keypair.access_key, put_keypair.user_id, put_keypair.domain,
          put_keypair.resource_policy, put_keypair.is_active)
  on conflict on constraint keypair_pkey do update set
    user_id = excluded.user_id,
    domain = excluded.domain,
    resource_policy = excluded.resource_policy,
    is_active = excluded.is_active
  returning k.xmax = 0 into created;
  return row(case when created then 'created' else 'replaced' end)::occupancy.registration;
end;
$$;

comment on function occupancy.put_keypair(text, text, text, boolean, text) is
  'Registers an access key, or replaces its user, resource policy, activity and domain. Sessions '
  'that live stay charged to the user and domain they were admitted with. Answers created or '
  'replaced. OC005.';
revoke all on function occupancy.put_keypair(text, text, text, boolean, text) from public;
grant execute on function occupancy.put_keypair(text, text, text, boolean, text)
  to occupancy_admin;
