create or replace function occupancy.key_rejection(
  session_id uuid,
  access_key text,
  session_type text,
  number_of_kernels bigint,
  max_kernels_per_session bigint,
  is_active boolean,
  used bigint,
  max bigint
)
returns occupancy.admission
language plpgsql stable parallel safe
as $$
declare
  limit_code constant text :=
    case session_type when 'system' then 'system_concurrency_limit' else 'concurrency_limit' end;
  limit_message text;
begin
  if not is_active or number_of_kernels > max_kernels_per_session then
    return occupancy.rejection(session_id, access_key, used, max, (
      select jsonb_agg(occupancy.violation(f) order by f.position)
      from occupancy.key_facts(
        access_key, session_type, number_of_kernels, max_kernels_per_session, is_active, used, max)
        as f
      where not f.passed));
  end if;
  -- What these would say of a full key, without a query: whoever retries there asks often.
  limit_message := occupancy.count_message(limit_code, 'keypair', access_key, used, max);
  return row(
    session_id, 'rejected', limit_code, limit_message, access_key, used, max,
    jsonb_build_array(jsonb_build_object(
      'code', limit_code, 'scope', 'keypair', 'scope_id', access_key, 'slot', null, 'used', used,
      'requested', 1, 'max', max, 'message', limit_message)),
    null)::occupancy.admission;
end;
$$;

comment on function occupancy.key_rejection(
  uuid, text, text, bigint, bigint, boolean, bigint, bigint
) is
  'Internal. The answer to a reservation that its key alone forbids.';
revoke all on function occupancy.key_rejection(
  uuid, text, text, bigint, bigint, boolean, bigint, bigint
) from public;
