create or replace function occupancy.key_admits(
  session_type text,
  number_of_kernels bigint,
  context occupancy.reservation_context
)
returns boolean
language sql immutable parallel safe
return (context).is_active
  and coalesce(number_of_kernels <= ((context).limits).max_kernels_per_session, true)
  and case
    when session_type = 'system' then coalesce(
      (context).system_used < ((context).limits).max_concurrent_system_sessions, true)
    else coalesce((context).compute_used < ((context).limits).max_concurrent_sessions, true)
  end;

comment on function occupancy.key_admits(text, bigint, occupancy.reservation_context) is
  'Internal. Whether all of key_facts pass, at the cost of an expression.';
revoke all on function occupancy.key_admits(text, bigint, occupancy.reservation_context)
  from public;
