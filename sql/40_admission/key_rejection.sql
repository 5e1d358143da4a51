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
  fact occupancy.fact;
  violated jsonb := jsonb '[]';
begin
  -- What key_facts says of a key, without a query: whoever retries at a full key asks often.
  for i in 1 .. 3 loop
    if i = 1 and not is_active then
      fact := row(1, 'key_inactive', 'keypair', access_key, null, null, null, null, false);
    elsif i = 2 and number_of_kernels > max_kernels_per_session then
      fact := row(2, 'kernels_per_session', 'keypair', access_key, null, 0, number_of_kernels,
                  max_kernels_per_session, false);
    elsif i = 3 and used >= max then
      fact := row(3, limit_code, 'keypair', access_key, null, used, 1, max, false);
    else
      continue;
    end if;
    violated := violated || occupancy.violation(fact);
  end loop;
  return occupancy.rejection(session_id, access_key, used, max, violated);
end;
$$;

comment on function occupancy.key_rejection(
  uuid, text, text, bigint, bigint, boolean, bigint, bigint
) is
  'Internal. The answer to a reservation that its key alone forbids.';
revoke all on function occupancy.key_rejection(
  uuid, text, text, bigint, bigint, boolean, bigint, bigint
) from public;
