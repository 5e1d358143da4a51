create or replace function occupancy.key_facts(
  access_key text,
  session_type text,
  number_of_kernels bigint,
  max_kernels_per_session bigint,
  is_active boolean,
  used bigint,
  max bigint
)
returns setof occupancy.fact
language sql immutable parallel safe
as $$
  select f.position, f.code, 'keypair', access_key, null, f.used, f.requested, f.max,
         coalesce(f.used + f.requested <= f.max, f.code <> 'key_inactive' or is_active)
  from (values
    (1, 'key_inactive', null::bigint, null::bigint, null::bigint),
    (2, 'kernels_per_session', 0, number_of_kernels, max_kernels_per_session),
    (3, case session_type when 'system' then 'system_concurrency_limit'
        else 'concurrency_limit' end, used, 1, max)
  ) as f (position, code, used, requested, max);
$$;

comment on function occupancy.key_facts(
  text, text, bigint, bigint, boolean, bigint, bigint
) is
  'Internal. The comparisons that concern the key alone, in the order of violations. used, max: '
  'sessions of the class of session_type.';
revoke all on function occupancy.key_facts(
  text, text, bigint, bigint, boolean, bigint, bigint
) from public;
