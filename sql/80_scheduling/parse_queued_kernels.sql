create or replace function occupancy.parse_queued_kernels(kernels jsonb, cluster_mode text)
returns occupancy.queued_kernels
language plpgsql volatile parallel safe
as $$
declare
  kernel jsonb;
  agent text;
  ids uuid[] := array[]::uuid[];
  kernel_id uuid;
  generated boolean;
  slots jsonb;
  parsed jsonb := jsonb '[]';
  total jsonb := jsonb '{}';
  designated text;
begin
  if kernels is null or jsonb_typeof(kernels) <> 'array' or jsonb_array_length(kernels) = 0 then
    raise exception 'kernels is not a non-empty array'
      using errcode = 'OC005', detail = coalesce(left(kernels::text, 100), 'NULL'),
            hint = 'pass an array such as [{"slots": {"cpu": 4}}]';
  end if;
  if jsonb_array_length(kernels) > 1000 then
    raise exception 'a session has too many kernels'
      using errcode = 'OC005', detail = jsonb_array_length(kernels)::text,
            hint = 'at most 1000 in the queue';
  end if;
  for i in 1 .. jsonb_array_length(kernels) loop
    kernel := kernels -> (i - 1);
    if jsonb_typeof(kernel) <> 'object' then
      raise exception 'a kernel is not an object'
        using errcode = 'OC005', detail = format('kernel %s: %s', i, left(kernel::text, 100)),
              hint = 'pass {"slots": {"cpu": 4}}, and an agent if it must be that one';
    end if;
    agent := occupancy.parse_text(kernel, 'agent');
    if agent is not null and occupancy.check_name(agent, 'agent') then
      if agent <> designated and cluster_mode = 'single-node' then
        raise exception 'the kernels of a single-node session name two agents'
          using errcode = 'OC005', detail = format('%s, %s', designated, agent),
                hint = 'name one, or pass cluster_mode ''multi-node''';
      end if;
      designated := agent;
    end if;
    slots := occupancy.parse_slots(kernel -> 'slots');
    generated := coalesce(jsonb_typeof(kernel -> 'kernel_id'), 'null') = 'null';
    kernel_id := case when generated then gen_random_uuid()
                      else occupancy.parse_uuid(kernel -> 'kernel_id', 'kernel_id') end;
    if kernel_id = any (ids) then
      raise exception 'a kernel id is given twice'
        using errcode = 'OC005', detail = kernel_id::text,
              hint = 'give every kernel its own id, or none to have one generated';
    end if;
    ids := ids || kernel_id;
    total := occupancy.slots_plus(total, slots);
    parsed := parsed || jsonb_build_object(
      'kernel_id', kernel_id, 'generated', generated, 'agent', agent, 'slots', slots);
  end loop;
  return row(parsed, total, designated)::occupancy.queued_kernels;
end;
$$;

comment on function occupancy.parse_queued_kernels(jsonb, text) is
  'Internal. Checks the kernels of a session that wants to wait, whose agents are optional, and '
  'returns them with amounts in stored form and an id each. OC001, OC005.';
revoke all on function occupancy.parse_queued_kernels(jsonb, text) from public;
