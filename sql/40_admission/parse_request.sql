create or replace function occupancy.parse_request(element jsonb, element_position integer)
returns occupancy.batch
language plpgsql volatile
as $$
declare
  fields constant text[] := array['session_id', 'access_key', 'kernels', 'session_type', 'project'];
  id uuid;
  access_key text;
  session_type text := 'interactive';
  project text;
  placed occupancy.placement;
begin
  id := occupancy.parse_uuid(element -> 'session_id', 'session_id');
  access_key := occupancy.parse_text(element, 'access_key');
  if element ? 'session_type' then
    session_type := occupancy.parse_text(element, 'session_type');
  end if;
  project := occupancy.parse_text(element, 'project');
  perform occupancy.check_reservation(id, access_key, session_type, project);
  if element - fields <> '{}' then
    raise exception 'an unknown field'
      using errcode = 'OC005', detail = left((element - fields)::text, 100),
            hint = 'one of ' || array_to_string(fields || array['manager', 'epoch'], ', ');
  end if;
  placed := occupancy.parse_kernels(element -> 'kernels');
  return row(
    array[row(
      element_position, id, access_key, session_type, project, null, null, null,
      cardinality(placed.kernel_ids), placed.agents[1], occupancy.placed_kernels(placed), null, null
    )::occupancy.asked_session],
    array(
      select row(element_position, k.position, id, k.kernel_id, k.id_generated, k.agent, k.slots)
        ::occupancy.asked_kernel
      from unnest(placed.kernel_ids, placed.id_generated, placed.agents, placed.slots)
           with ordinality as k (kernel_id, id_generated, agent, slots, position)),
    null
  )::occupancy.batch;
exception when sqlstate 'OC001' or sqlstate 'OC005' then
  return row(null, null, array[occupancy.refusal(
    occupancy.readable_id(element -> 'session_id'), left(element ->> 'access_key', 256),
    sqlstate, sqlerrm)])::occupancy.batch;
end;
$$;

comment on function occupancy.parse_request(jsonb, integer) is
  'Internal. One element of a batch after the checks of reserve_session''s arguments: its session '
  'and kernels, or with a mistake (OC001, OC005) its answer alone.';
revoke all on function occupancy.parse_request(jsonb, integer) from public;
