create or replace function occupancy.parse_kernels(kernels jsonb)
returns occupancy.placement
language plpgsql volatile parallel safe
as $$
declare
  number_of_kernels constant integer :=
    case when jsonb_typeof(kernels) = 'array' then jsonb_array_length(kernels) else 0 end;
  kernel jsonb;
  agent text;
  requested jsonb;
  written_id text;
  ids uuid[];
  generated boolean[];
  agents text[];
  slots jsonb[];
begin
  if number_of_kernels not between 1 and 10000 then
    perform occupancy.refuse_kernels(kernels, number_of_kernels);
  end if;
  for i in 1 .. number_of_kernels loop
    kernel := kernels -> (i - 1);
    agent := kernel ->> 'agent';
    if jsonb_typeof(kernel -> 'agent') = 'string' and length(agent) between 1 and 256 then
      null;
    elsif jsonb_typeof(kernel -> 'agent') is distinct from 'string' then
      raise exception 'a kernel is not an object with an agent'
        using errcode = 'OC005', detail = format('kernel %s: %s', i, left(kernel::text, 100)),
              hint = 'pass {"agent": "i-01", "slots": {"cpu": 4}}';
    else
      perform occupancy.check_name(agent, 'agent');
    end if;
    requested := occupancy.parse_slots(kernel -> 'slots');
    written_id := kernel ->> 'kernel_id';
    if not occupancy.is_plain_uuid(written_id) then
      perform occupancy.parse_uuid(kernel -> 'kernel_id', 'kernel_id');
    end if;
    -- Arrays that grow cost more than all the rest, and most sessions have one kernel.
    if number_of_kernels = 1 then
      return row(
        array[coalesce(written_id::uuid, gen_random_uuid())], array[written_id is null],
        array[agent], array[requested], array[agent], array[requested], requested
      )::occupancy.placement;
    end if;
    ids[i] := coalesce(written_id::uuid, gen_random_uuid());
    generated[i] := written_id is null;
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
