create or replace function occupancy.key_facts(
  access_key text,
  session_type text,
  number_of_kernels bigint,
  context occupancy.reservation_context
)
returns setof occupancy.fact
language sql immutable parallel safe
as $$
  select f.position, f.code, 'keypair', access_key, null, f.used, f.requested, f.max,
         coalesce(f.used + f.requested <= f.max, f.code <> 'key_inactive' or (context).is_active)
  from (values
    (1, 'key_inactive', null::bigint, null::bigint, null::bigint),
    (2, 'kernels_per_session', 0, number_of_kernels, ((context).limits).max_kernels_per_session),
    (3, 'concurrency_limit', (context).compute_used, 1,
     ((context).limits).max_concurrent_sessions),
    (3, 'system_concurrency_limit', (context).system_used, 1,
     ((context).limits).max_concurrent_system_sessions)
  ) as f (position, code, used, requested, max)
  where f.position < 3 or (f.code = 'system_concurrency_limit') = (session_type = 'system');
$$;

comment on function occupancy.key_facts(
  text, text, bigint, occupancy.reservation_context
) is
  'Internal. The comparisons that concern the key alone, in the order of violations.';
revoke all on function occupancy.key_facts(
  text, text, bigint, occupancy.reservation_context
) from public;
