create or replace function occupancy.parse_holder(element jsonb)
returns occupancy.holder
language plpgsql immutable parallel safe
as $$
declare
  manager constant text := occupancy.parse_text(element, 'manager');
  epoch constant jsonb := nullif(element -> 'epoch', 'null');
begin
  if manager is null and epoch is null then
    return null;
  end if;
  perform occupancy.check_name(manager, 'manager');
  if jsonb_typeof(epoch) <> 'number' or epoch::text !~ '^[0-9]{1,18}$' or epoch is null then
    raise exception 'epoch is missing or no whole number'
      using errcode = 'OC005', detail = coalesce(left(epoch::text, 100), 'NULL'),
            hint = 'pass the epoch that register_manager answered with';
  end if;
  return row(manager, epoch::text::bigint)::occupancy.holder;
end;
$$;

comment on function occupancy.parse_holder(jsonb) is
  'Internal. The holder that an element of a batch names; NULL if it names none. OC005.';
revoke all on function occupancy.parse_holder(jsonb) from public;
