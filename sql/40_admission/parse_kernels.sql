create or replace function occupancy.parse_kernels(kernels jsonb)
returns occupancy.placement
language plpgsql volatile parallel safe
as $$
declare
  number_of_kernels integer;
  kernel jsonb;
  agent text;
  requested jsonb;
  id uuid;
  ids uuid[];
  generated boolean[];
  agents text[];
  slots jsonb[];
begin
  if jsonb_typeof(kernels) is distinct from 'array' or jsonb_array_length(kernels) = 0 then
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
    if jsonb_typeof(kernel -> 'agent') is distinct from 'string' then
      raise exception 'a kernel is not an object with an agent'
        using errcode = 'OC005', detail = format('kernel %s: %s', i, left(kernel::text, 100)),
              hint = 'pass {"agent": "i-01", "slots": {"cpu": 4}}';
    elsif length(agent) not between 1 and 256 then
      perform occupancy.check_name(agent, 'agent');
    end if;
    requested := occupancy.parse_slots(kernel -> 'slots');
    id := null;
    if kernel ->> 'kernel_id' is not null then
      id := occupancy.parse_uuid(kernel -> 'kernel_id', 'kernel_id');
    end if;
    -- Arrays that grow cost more than all the rest, and most sessions have one kernel.
    if number_of_kernels = 1 then
      return row(
        array[coalesce(id, gen_random_uuid())], array[id is null], array[agent], array[requested],
        array[agent], array[requested], requested)::occupancy.placement;
    end if;
    ids[i] := coalesce(id, gen_random_uuid());
    generated[i] := id is null;
    agents[i] := agent;
    slots[i] := requested;
  end loop;
  return occupancy.sum_placement(ids, generated, agents, slots);
end;
$$;

comment on function occupancy.parse_kernels(jsonb) is
  'Internal. Checks a kernels argument and takes it apart; ids that are absent are generated. '
  'OC001 for its slots, OC005 for everything else, at most 10,000 kernels.';
revoke all on function occupancy.parse_kernels(jsonb) from public;
