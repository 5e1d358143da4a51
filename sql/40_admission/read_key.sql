create or replace function occupancy.read_key(
  session_id uuid,
  access_key text,
  session_type text
)
-- A set, so that callers' plans take it in instead of planning it at every call.
returns setof occupancy.key_context
language sql stable
as $$
  select
    (select s.status from occupancy.session s where s.session_id = read_key.session_id),
    k.user_id, k.domain, k.resource_policy, k.is_active,
    case when read_key.session_type = 'system' then k.system_used else k.compute_used end,
    case when read_key.session_type = 'system' then p.max_concurrent_system_sessions
         else p.max_concurrent_sessions end,
    p.max_kernels_per_session, k.occupied_slots,
    case when read_key.session_type <> 'system' then p.total_resource_slots end,
    p.default_for_unspecified
  from (values (true)) as always
  left join occupancy.keypair k on k.access_key = read_key.access_key
  left join occupancy.resource_policy p on p.name = k.resource_policy;
$$;

comment on function occupancy.read_key(uuid, text, text) is
  'Internal. The id and the key of a reservation in one snapshot. '
  'total_resource_slots is unlimited for a system session, which is charged with no slots.';
revoke all on function occupancy.read_key(uuid, text, text) from public;
