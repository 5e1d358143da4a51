create or replace function occupancy.decide_doubts(
  batch occupancy.batch,
  obstacles occupancy.counter[]
)
returns occupancy.batch
language plpgsql volatile
set enable_nestloop = off
as $$
declare
  sorted occupancy.counter[] := array(
    select o from unnest(obstacles) as o
    order by (occupancy.obstacle_fact(o, 1)).position, o.id collate "C", o.slot collate "C" nulls first);
  answers occupancy.admission[] := batch.answers;
  left_out integer[] := array[]::integer[];
  -- By the position of the first session with an id: what was admitted under it.
  contents jsonb[];
  kernels jsonb[];
  doubt record;
  obstacle occupancy.counter;
  fact occupancy.fact;
  violated jsonb;
  by_key boolean;
  conflict boolean;
begin
  for doubt in
    select d.* from occupancy.doubts(batch, sorted) as d order by d.position
  loop
    if contents[doubt.first] is not null then
      answers[doubt.position] := occupancy.repetition(
        doubt.session_id, doubt.access_key, doubt.content = contents[doubt.first],
        kernels[doubt.first]);
      left_out := left_out || doubt.position;
      continue;
    elsif doubt.code is not null then
      answers[doubt.position] :=
        occupancy.refusal(doubt.session_id, doubt.access_key, doubt.code, doubt.message);
      left_out := left_out || doubt.position;
      continue;
    end if;

    violated := jsonb '[]';
    by_key := false;
    conflict := false;
    for i in 1 .. coalesce(cardinality(doubt.counters), 0) loop
      obstacle := sorted[doubt.counters[i]];
      continue when obstacle.used + doubt.requested[i] <= obstacle.max;
      fact := occupancy.obstacle_fact(obstacle, doubt.requested[i]);
      -- A key that is inactive or full is answered with what concerns the key alone.
      exit when by_key and fact.position > 3;
      by_key := by_key or fact.position in (1, 3);
      conflict := conflict or fact.position = 11;
      if fact.position < 11 then
        violated := violated || occupancy.violation(fact);
      end if;
    end loop;

    if violated <> '[]' then
      answers[doubt.position] :=
        occupancy.rejection(doubt.session_id, doubt.access_key, null, null, violated);
      left_out := left_out || doubt.position;
    elsif conflict then
      answers[doubt.position] := occupancy.refusal(
        doubt.session_id, doubt.access_key, 'OC006', 'a kernel id belongs to another session');
      left_out := left_out || doubt.position;
    else
      for i in 1 .. coalesce(cardinality(doubt.counters), 0) loop
        obstacle := sorted[doubt.counters[i]];
        if obstacle.kind <> 'kernels_per_session' then
          obstacle.used := obstacle.used + doubt.requested[i];
          sorted[doubt.counters[i]] := obstacle;
        end if;
      end loop;
      contents[doubt.first] := doubt.content;
      kernels[doubt.first] := doubt.answer;
    end if;
  end loop;
  batch := occupancy.batch_without(batch, left_out);
  batch.answers := answers;
  return batch;
end;
$$;

comment on function occupancy.decide_doubts(occupancy.batch, occupancy.counter[]) is
  'Internal. Answers the sessions of a batch that are refused, rejected or repeated, deciding in '
  'input order, and leaves those that are admitted. obstacles: the counters without room for all; '
  'whoever meets none of them need not be looked at.';
revoke all on function occupancy.decide_doubts(occupancy.batch, occupancy.counter[]) from public;
