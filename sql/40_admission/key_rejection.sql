create or replace function occupancy.key_rejection(
  claim occupancy.session,
  placed occupancy.placement,
  context occupancy.reservation_context
)
returns occupancy.admission
language plpgsql immutable parallel safe
as $$
begin
  return (
    select occupancy.rejection(claim, context, jsonb_agg(occupancy.violation(f)))
    from occupancy.key_facts(
      (claim).access_key, (claim).session_type, cardinality((placed).kernel_ids), context) as f
    where not f.passed
  );
end;
$$;

comment on function occupancy.key_rejection(
  occupancy.session, occupancy.placement, occupancy.reservation_context
) is
  'Internal. The answer to a reservation that its key alone forbids.';
revoke all on function occupancy.key_rejection(
  occupancy.session, occupancy.placement, occupancy.reservation_context
) from public;
