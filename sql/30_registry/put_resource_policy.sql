create or replace function occupancy.put_resource_policy(
  name text,
  max_concurrent_sessions bigint default null,
  max_concurrent_system_sessions bigint default null,
  total_resource_slots jsonb default null,
  default_for_unspecified text default 'LIMITED',
  max_pending_sessions bigint default null,
  max_pending_resource_slots jsonb default null,
  max_kernels_per_session bigint default null
)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  created boolean;
begin
  perform occupancy.check_name(name, 'name');
  perform occupancy.check_limit(max_concurrent_sessions, 'max_concurrent_sessions');
  perform occupancy.check_limit(max_concurrent_system_sessions, 'max_concurrent_system_sessions');
  perform occupancy.check_limit(max_pending_sessions, 'max_pending_sessions');
  perform occupancy.check_limit(max_kernels_per_session, 'max_kernels_per_session');
  perform occupancy.check_word(
    default_for_unspecified, array['LIMITED', 'UNLIMITED'], 'default_for_unspecified');

  insert into occupancy.resource_policy as p (
    name, max_concurrent_sessions, max_concurrent_system_sessions, total_resource_slots,
    default_for_unspecified, max_pending_sessions, max_pending_resource_slots,
    max_kernels_per_session
  )
  values (
    put_resource_policy.name,
    put_resource_policy.max_concurrent_sessions,
    put_resource_policy.max_concurrent_system_sessions,
    occupancy.parse_limits(total_resource_slots, 'total_resource_slots'),
    put_resource_policy.default_for_unspecified,
    put_resource_policy.max_pending_sessions,
    occupancy.parse_limits(max_pending_resource_slots, 'max_pending_resource_slots'),
    put_resource_policy.max_kernels_per_session
  )
  on conflict on constraint resource_policy_pkey do update set
    max_concurrent_sessions = excluded.max_concurrent_sessions,
    max_concurrent_system_sessions = excluded.max_concurrent_system_sessions,
    total_resource_slots = excluded.total_resource_slots,
    default_for_unspecified = excluded.default_for_unspecified,
    max_pending_sessions = excluded.max_pending_sessions,
    max_pending_resource_slots = excluded.max_pending_resource_slots,
    max_kernels_per_session = excluded.max_kernels_per_session
  returning p.xmax = 0 into created;

  update occupancy.limits_version set version = version + 1;
  return row(case when created then 'created' else 'replaced' end)::occupancy.registration;
end;
$$;

comment on function occupancy.put_resource_policy(
  text, bigint, bigint, jsonb, text, bigint, jsonb, bigint
) is
  'Creates or replaces the limits that keypairs share. Numbers are sessions or kernels: NULL = '
  'unlimited, 0 = none. total_resource_slots: slots of all active compute sessions of a key '
  'together; NULL = unlimited; a slot that it does not name is none (default_for_unspecified '
  'LIMITED) or free (UNLIMITED). Answers created or replaced. OC001, OC005.';
revoke all on function occupancy.put_resource_policy(
  text, bigint, bigint, jsonb, text, bigint, jsonb, bigint
) from public;
grant execute on function occupancy.put_resource_policy(
  text, bigint, bigint, jsonb, text, bigint, jsonb, bigint
) to occupancy_admin;
