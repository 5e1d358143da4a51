create or replace function occupancy.parse_batch(elements jsonb)
returns occupancy.batch
language plpgsql volatile
-- What is compared here comes out of the argument: the planner, who cannot know how much, must not
-- compare everything with everything.
set enable_nestloop = off
as $$
declare
  batch occupancy.batch;
  one occupancy.batch;
  answers occupancy.admission[];
  element_position integer;
begin
  -- All that is written as it should be, at once. Equal slots are parsed once.
  with element as materialized (
    select e.element, e.position::integer,
           case when occupancy.is_uuid(e.element ->> 'session_id')
                then (e.element ->> 'session_id')::uuid end as session_id,
           e.element ->> 'access_key' as access_key,
           case when e.element ? 'session_type' then e.element ->> 'session_type'
                else 'interactive' end as session_type,
           e.element ->> 'project' as project,
           case when jsonb_typeof(e.element -> 'kernels') = 'array'
                then e.element -> 'kernels' end as kernels
    from jsonb_array_elements(elements) with ordinality as e (element, position)
  ), wanted as materialized (
    select k.session, k.session_id, k.position, k.kernel -> 'slots' as slots,
           k.kernel ->> 'agent' as agent_id, k.kernel ->> 'kernel_id' as kernel_id
    from (
      select e.position as session, e.session_id, jsonb_array_elements(e.kernels) as kernel,
             generate_series(1, jsonb_array_length(e.kernels)) as position
      from element e
      where e.session_id is not null
    ) as k
    where jsonb_typeof(k.kernel -> 'agent') = 'string'
      and length(k.kernel ->> 'agent') between 1 and 256
      and coalesce(occupancy.is_uuid(k.kernel ->> 'kernel_id'), true)
  ), shape as materialized (
    select w.slots as written, occupancy.readable_slots(w.slots) as parsed
    from wanted w group by w.slots
  ), kernel as materialized (
    select w.session, w.position, w.session_id,
           coalesce(w.kernel_id::uuid, gen_random_uuid()) as kernel_id,
           w.kernel_id is null as id_generated, w.agent_id, s.parsed as slots
    from wanted w join shape s on s.written = w.slots
    where s.parsed is not null
  ), placement as (
    select k.session, count(*) as kernel_count, min(k.agent_id) as agent_id,
           jsonb_agg(jsonb_build_object(
             'kernel_id', k.kernel_id, 'agent', k.agent_id, 'slots', k.slots)) as answer
    from (select * from kernel order by session, position) as k
    group by k.session
  ), session as materialized (
    select e.position, e.session_id, e.access_key, e.session_type, e.project,
           p.kernel_count::integer, p.agent_id, p.answer
    from element e join placement p on p.session = e.position
    where p.kernel_count = jsonb_array_length(e.kernels) and p.kernel_count <= 10000
      and e.element - array['session_id', 'access_key', 'kernels', 'session_type', 'project'] = '{}'
      and jsonb_typeof(e.element -> 'access_key') = 'string'
      and length(e.access_key) between 1 and 256
      and e.session_type in ('interactive', 'batch', 'inference', 'system')
      and (e.project is null
           or jsonb_typeof(e.element -> 'project') = 'string' and length(e.project) between 1 and 256)
      and e.position not in (
        select k.session from kernel k group by k.session, k.kernel_id having count(*) > 1)
  )
  select array(
           select row(s.position, s.session_id, s.access_key, s.session_type, s.project, null, null,
                      null, s.kernel_count, s.agent_id, s.answer, null, null)::occupancy.asked_session
           from session s),
         array(
           select row(k.session, k.position, k.session_id, k.kernel_id, k.id_generated, k.agent_id,
                      k.slots)::occupancy.asked_kernel
           from kernel k where k.session in (select s.position from session s)),
         array_fill(null::occupancy.admission, array[jsonb_array_length(elements)])
  into batch;

  -- The rest one by one, by the checks that know what to say.
  if cardinality(batch.sessions) < jsonb_array_length(elements) then
    answers := batch.answers;
    for element_position in
      select generate_series(1, jsonb_array_length(elements))
      except
      select s.position from unnest(batch.sessions) as s
      order by 1
    loop
      if jsonb_typeof(elements -> (element_position - 1)) <> 'object' then
        raise exception 'an element of sessions is not an object'
          using errcode = 'OC005',
                detail = format('element %s: %s', element_position,
                                left((elements -> (element_position - 1))::text, 100)),
                hint = 'pass objects with the arguments of reserve_session';
      end if;
      one := occupancy.parse_request(elements -> (element_position - 1), element_position);
      batch.sessions := batch.sessions || one.sessions;
      batch.kernels := batch.kernels || one.kernels;
      answers[element_position] := one.answers[1];
    end loop;
    batch.answers := answers;
  end if;
  return batch;
end;
$$;

comment on function occupancy.parse_batch(jsonb) is
  'Internal. Takes a batch apart; elements with a mistake are answered already. OC005 for one that '
  'is no object.';
revoke all on function occupancy.parse_batch(jsonb) from public;
