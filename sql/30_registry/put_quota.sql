create or replace function occupancy.put_quota(
  scope text,
  scope_id text,
  max_concurrent_sessions bigint default null,
  total_resource_slots jsonb default null,
  default_for_unspecified text default 'UNLIMITED'
)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- The gate below waits for every reservation in progress and holds up the next ones meanwhile.
set lock_timeout = '5s'
as $$
declare
  limits jsonb;
  use record;
begin
  perform occupancy.check_word(
    scope, array['user', 'project', 'resource_group', 'domain'], 'scope');
  perform occupancy.check_name(scope_id, 'scope_id');
  perform occupancy.check_limit(max_concurrent_sessions, 'max_concurrent_sessions');
  perform occupancy.check_word(
    default_for_unspecified, array['LIMITED', 'UNLIMITED'], 'default_for_unspecified');
  limits := occupancy.parse_limits(total_resource_slots, 'total_resource_slots');

  loop
    update occupancy.quota q set
      max_concurrent_sessions = put_quota.max_concurrent_sessions,
      total_resource_slots = limits,
      default_for_unspecified = put_quota.default_for_unspecified
    where q.scope = put_quota.scope and q.scope_id = put_quota.scope_id;
    if found then
      return row('replaced')::occupancy.registration;
    end if;

    perform occupancy.require_fresh_snapshots();
    -- See enter_ledger: from here on nobody else charges or frees until this commits.
    perform pg_advisory_xact_lock(1868788289, 1);
    select * into use from occupancy.quota_use(put_quota.scope, put_quota.scope_id);
    insert into occupancy.quota (
      scope, scope_id, max_concurrent_sessions, total_resource_slots, default_for_unspecified,
      used, occupied_slots
    )
    values (
      put_quota.scope, put_quota.scope_id, put_quota.max_concurrent_sessions, limits,
      put_quota.default_for_unspecified, use.sessions, use.slots
    )
    on conflict do nothing;
    if found then
      update occupancy.limits_version set version = version + 1;
      return row('created')::occupancy.registration;
    end if;
  end loop;
end;
$$;

comment on function occupancy.put_quota(text, text, bigint, jsonb, text) is
  'Creates or replaces the limits of a user, project, resource_group or domain. '
  'max_concurrent_sessions: active compute sessions, NULL = unlimited, 0 = none. '
  'total_resource_slots: their slots together, NULL = unlimited; a slot that it does not name is '
  'free (default_for_unspecified UNLIMITED) or none (LIMITED). Creating one waits for the '
  'reservations in progress, at most 5 s (55P03), and counts every session that lives. Answers '
  'created or replaced. OC001, OC005, OC008.';
revoke all on function occupancy.put_quota(text, text, bigint, jsonb, text) from public;
grant execute on function occupancy.put_quota(text, text, bigint, jsonb, text)
  to occupancy_admin;
