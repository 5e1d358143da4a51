create or replace function occupancy.check_queued(
  session_id uuid,
  resource_group text,
  session_type text,
  priority integer,
  starts_at timestamptz,
  dependencies uuid[],
  cluster_mode text
)
returns boolean
language plpgsql immutable parallel safe
as $$
begin
  perform occupancy.check_name(resource_group, 'resource_group');
  perform occupancy.check_word(cluster_mode, array['single-node', 'multi-node'], 'cluster_mode');
  if priority is null or priority not between 0 and 100 then
    raise exception 'priority is out of range'
      using errcode = 'OC005', detail = coalesce(priority::text, 'NULL'),
            hint = 'pass a number from 0 to 100, the higher the sooner';
  end if;
  if starts_at not between timestamptz '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59.999999+00'
  then
    raise exception 'starts_at is out of range'
      using errcode = 'OC005', detail = starts_at::text,
            hint = 'pass a time before the year 10000, or NULL to start at once';
  end if;
  if starts_at is not null and session_type <> 'batch' then
    raise exception 'only a batch session has a start time'
      using errcode = 'OC005', detail = session_type,
            hint = 'leave starts_at out, or pass session_type ''batch''';
  end if;
  if dependencies is null or array_position(array(select unnest(dependencies)), null) is not null
  then
    raise exception 'dependencies is missing, or one of them'
      using errcode = 'OC005', hint = 'pass an array of UUIDs, ''{}'' for none';
  end if;
  if cardinality(dependencies) > 1000 then
    raise exception 'a session depends on too many others'
      using errcode = 'OC005', detail = cardinality(dependencies)::text, hint = 'at most 1000';
  end if;
  if session_id = any (dependencies) then
    raise exception 'a session depends on itself'
      using errcode = 'OC005', detail = session_id::text,
            hint = 'leave it out of its own dependencies';
  end if;
  return true;
end;
$$;

comment on function occupancy.check_queued(
  uuid, text, text, integer, timestamptz, uuid[], text
) is
  'Internal. Refuses (OC005) the arguments of a session that wants to wait that need no table to '
  'be wrong, beyond those of a reservation.';
revoke all on function occupancy.check_queued(
  uuid, text, text, integer, timestamptz, uuid[], text
) from public;
