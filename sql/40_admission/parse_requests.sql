create or replace function occupancy.parse_requests(sessions jsonb)
returns occupancy.request[]
language plpgsql volatile
as $$
declare
  requests occupancy.request[] := array[]::occupancy.request[];
  element jsonb;
  written text;
  message text;
begin
  if sessions is null or jsonb_typeof(sessions) <> 'array' then
    raise exception 'sessions is not an array'
      using errcode = 'OC005', detail = coalesce(left(sessions::text, 100), 'NULL'),
            hint = 'pass an array of objects with the arguments of reserve_session';
  end if;
  if jsonb_array_length(sessions) > 10000 then
    raise exception 'sessions is too long'
      using errcode = 'OC005', detail = jsonb_array_length(sessions)::text,
            hint = 'at most 10000 in a call';
  end if;
  for i in 1 .. jsonb_array_length(sessions) loop
    element := sessions -> (i - 1);
    if jsonb_typeof(element) <> 'object' then
      raise exception 'an element of sessions is not an object'
        using errcode = 'OC005', detail = format('element %s: %s', i, left(element::text, 100)),
              hint = 'pass objects with the arguments of reserve_session';
    end if;
    begin
      requests[i] := occupancy.parse_request(element);
    exception when sqlstate 'OC001' or sqlstate 'OC005' then
      get stacked diagnostics written = returned_sqlstate, message = message_text;
      requests[i] := row(null, null, null, null, null, occupancy.refusal(
        occupancy.readable_id(element -> 'session_id'),
        left(element ->> 'access_key', 256), written, message))::occupancy.request;
    end;
  end loop;
  return requests;
end;
$$;

comment on function occupancy.parse_requests(jsonb) is
  'Internal. Takes a batch apart; an element with a mistake carries its refusal. OC005 for what is '
  'no array of at most 10,000 objects.';
revoke all on function occupancy.parse_requests(jsonb) from public;
