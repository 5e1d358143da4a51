create or replace function occupancy.tick_violations(
  resource_group text,
  sessions occupancy.tick_sessions,
  shapes occupancy.tick_shapes,
  counters occupancy.tick_counters,
  d occupancy.tick_decision
)
returns table (verdicts integer[], violations jsonb)
language sql stable
as $$
  -- Each distinct one is worded once, and so is each list of them: a whole queue may wait for the
  -- same.
  with failed as (
    select v.verdict, v.place, v.slot, v.used, v.requested, v.shape,
           case when v.place < 11 then v.counter end as counter,
           case when v.place >= 11 then sessions.part_agents[v.counter] end as designated
    from unnest(d.v_verdict, d.v_position, d.v_counter, d.v_slot, d.v_used, d.v_requested, d.v_shape)
      as v (verdict, place, counter, slot, used, requested, shape)
  ),
  worded as (
    select array_agg(f.verdict) as verdicts, f.place + 2 as place,
           case when f.place < 11 then
             occupancy.violation(row(
               f.place,
               case when f.place = 4 then 'keypair_quota' else counters.codes[f.counter] end,
               counters.scopes[f.counter], counters.ids[f.counter],
               shapes.names[f.slot], f.used, f.requested,
               case when f.slot is null then counters.max[f.counter]
                    else counters.slots_max[
                      (f.counter - 1) * cardinality(shapes.names) + f.slot] end,
               false)::occupancy.fact)
           when f.place = 11 then
             occupancy.no_place_violation(
               resource_group, null, sessions.shapes[f.shape],
               -- Read once, and only if it is needed.
               (select occupancy.most_free(tick_violations.resource_group, null, shapes.names)))
           else
             occupancy.no_place_violation(
               resource_group, f.designated, sessions.shapes[f.shape],
               occupancy.most_free(resource_group, f.designated, shapes.names))
           end as violation
    from failed f
    group by f.place, f.counter, f.slot, f.used, f.requested, f.shape, f.designated
  ),
  -- Counts before slots, as a reservation lists them; dependencies by id.
  facts as materialized (
    select row_number() over (
             order by f.place, f.violation ->> 'slot' collate "C" nulls first,
                      f.violation ->> 'scope_id' collate "C") as fact,
           f.verdicts, f.violation
    from (
      select w.verdicts, w.place, w.violation from worded w
      union all
      select array[a.verdict::integer], v.place, v.violation
      from unnest(d.askers) with ordinality as a (session, verdict)
      cross join lateral (
        select q from occupancy.queued_session q where q.session_id = sessions.ids[a.session]
        -- One by one, by its id: a planner who believes the queue empty would read all of it.
        offset 0
      ) as waiting (session)
      cross join lateral occupancy.blocking_violations(waiting.session) as v
      where sessions.blocked[a.session]
    ) as f
  ),
  listed as (
    select v.verdict, array_agg(f.fact order by f.fact) as facts
    from facts f
    cross join unnest(f.verdicts) as v (verdict)
    group by v.verdict
  ),
  shared as (
    select row_number() over () as n, l.facts, array_agg(l.verdict) as verdicts
    from listed l
    group by l.facts
  )
  select s.verdicts, jsonb_agg(f.violation order by f.fact)
  from (select s.*, unnest(s.facts) as fact from shared s) as s
  join facts f on f.fact = s.fact
  group by s.n, s.verdicts;
$$;

comment on function occupancy.tick_violations(
  text, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_counters,
  occupancy.tick_decision
) is
  'Internal. The verdicts of a tick in words, those together that are the same.';
revoke all on function occupancy.tick_violations(
  text, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_counters,
  occupancy.tick_decision
) from public;
