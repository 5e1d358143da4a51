create or replace function occupancy.parse_kernels(kernels jsonb)
returns occupancy.placement
language plpgsql volatile parallel safe
as $$
declare
  number_of_kernels integer;
  kernel jsonb;
  agent text;
  ids uuid[];
  generated boolean[];
  agents text[];
  slots jsonb[];
begin
  if kernels is null or jsonb_typeof(kernels) <> 'array' or jsonb_array_length(kernels) = 0 then
    raise exception 'kernels is not a non-empty array'
      using errcode = 'OC005', detail = coalesce(left(kernels::text, 100), 'NULL'),
            hint = 'pass an array such as [{"agent": "i-01", "slots": {"cpu": 4}}]';
  end if;
  number_of_kernels := jsonb_array_length(kernels);
  if number_of_kernels > 10000 then
    raise exception 'a session has too many kernels'
      using errcode = 'OC005', detail = number_of_kernels::text, hint = 'at most 10000';
  end if;

  for i in 1 .. number_of_kernels loop
    kernel := kernels -> (i - 1);
    agent := kernel ->> 'agent';
    if jsonb_typeof(kernel) <> 'object' or jsonb_typeof(kernel -> 'agent') is distinct from 'string'
    then
      raise exception 'a kernel is not an object with an agent'
        using errcode = 'OC005', detail = format('kernel %s: %s', i, left(kernel::text, 100)),
              hint = 'pass {"agent": "i-01", "slots": {"cpu": 4}}';
    end if;
    if length(agent) not between 1 and 256 then
      perform occupancy.check_name(agent, 'agent');
    end if;
    agents[i] := agent;
    slots[i] := occupancy.parse_slots(kernel -> 'slots');
    generated[i] := coalesce(jsonb_typeof(kernel -> 'kernel_id'), 'null') = 'null';
    ids[i] := case
      when generated[i] then gen_random_uuid()
      else occupancy.parse_uuid(kernel -> 'kernel_id', 'kernel_id')
    end;
  end loop;

  if number_of_kernels = 1 then
    return row(ids, generated, agents, slots, agents, slots, slots[1])::occupancy.placement;
  end if;
  return occupancy.sum_placement(ids, generated, agents, slots);
end;
$$;

comment on function occupancy.parse_kernels(jsonb) is
  'Internal. Checks a kernels argument and takes it apart; ids that are absent are generated. '
  'OC001 for its slots, OC005 for everything else, at most 10,000 kernels.';
revoke all on function occupancy.parse_kernels(jsonb) from public;
