create or replace function occupancy.read_key(access_key text, system boolean)
-- A set, so that callers' plans take it in instead of planning it at every call.
returns table (
  version xid,
  user_id text,
  domain text,
  resource_policy text,
  is_active boolean,
  used bigint,
  max bigint,
  max_kernels_per_session bigint,
  occupied_slots jsonb,
  total_resource_slots jsonb,
  default_for_unspecified text
)
language sql stable
as $$
  select
    k.xmin, k.user_id, k.domain, k.resource_policy, k.is_active,
    case when read_key.system then k.system_used else k.compute_used end,
    case when read_key.system then p.max_concurrent_system_sessions
         else p.max_concurrent_sessions end,
    p.max_kernels_per_session, k.occupied_slots,
    case when not read_key.system then p.total_resource_slots end,
    p.default_for_unspecified
  from occupancy.keypair k
  join occupancy.resource_policy p on p.name = k.resource_policy
  where k.access_key = read_key.access_key;
$$;

comment on function occupancy.read_key(text, boolean) is
  'Internal. The key of a reservation with its limits, none if it is unknown. version: of its row. used, max: sessions '
  'of the system class, or else of the compute class. total_resource_slots is unlimited for a '
  'system session, which is charged with no slots.';
revoke all on function occupancy.read_key(text, boolean) from public;
