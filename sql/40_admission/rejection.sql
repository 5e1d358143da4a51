create or replace function occupancy.rejection(
  claim occupancy.session,
  context occupancy.reservation_context,
  violations jsonb
)
returns occupancy.admission
language sql immutable parallel safe
return row(
  (claim).session_id, 'rejected', violations -> 0 ->> 'code', violations -> 0 ->> 'message',
  (claim).access_key,
  case when (claim).session_type = 'system'
       then (context).system_used else (context).compute_used end,
  case when (claim).session_type = 'system'
       then ((context).limits).max_concurrent_system_sessions
       else ((context).limits).max_concurrent_sessions end,
  violations, null
)::occupancy.admission;

comment on function occupancy.rejection(
  occupancy.session, occupancy.reservation_context, jsonb
) is
  'Internal. The answer to a reservation that is rejected.';
revoke all on function occupancy.rejection(
  occupancy.session, occupancy.reservation_context, jsonb
) from public;
