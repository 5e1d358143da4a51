create or replace function occupancy.tick_violations(
  resource_group text,
  sessions occupancy.tick_sessions,
  shapes occupancy.tick_shapes,
  counters occupancy.tick_counters,
  d occupancy.tick_decision
)
returns table (session integer, violations jsonb)
language sql stable
as $$
  -- Each distinct one is worded once: a whole queue may wait for the same.
  with failed as (
    select v.session, v.place, v.slot, v.used, v.requested, v.shape,
           case when v.place < 11 then v.counter end as counter,
           case when v.place >= 11 then sessions.part_agents[v.counter] end as designated
    from unnest(d.v_session, d.v_position, d.v_counter, d.v_slot, d.v_used, d.v_requested, d.v_shape)
      as v (session, place, counter, slot, used, requested, shape)
  ),
  worded as (
    select array_agg(f.session) as sessions, f.place + 2 as place,
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
  listed as (
    select s.session, w.place, w.violation, w.alone
    from (select w.*, jsonb_build_array(w.violation) as alone from worded w offset 0) as w
    cross join unnest(w.sessions) as s (session)
    union all
    select b.session, v.place, v.violation, null
    from unnest(sessions.ids, sessions.blocked) with ordinality as b (id, blocked, session)
    join occupancy.queued_session q on q.session_id = b.id
    cross join lateral occupancy.blocking_violations(q) as v
    where b.blocked and b.session = any (d.looked)
  ),
  counted as materialized (
    select l.*, count(*) over (partition by l.session) as failures from listed l
  )
  select c.session, coalesce(c.alone, jsonb_build_array(c.violation))
  from counted c where c.failures = 1
  union all
  -- Counts before slots, as a reservation lists them; dependencies by id.
  select c.session,
         jsonb_agg(c.violation order by c.place, c.violation ->> 'slot' collate "C" nulls first,
                                        c.violation ->> 'scope_id' collate "C")
  from counted c where c.failures > 1
  group by c.session;
$$;

comment on function occupancy.tick_violations(
  text, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_counters,
  occupancy.tick_decision
) is
  'Internal. Why the sessions of a tick that are not placed wait, by their number in it.';
revoke all on function occupancy.tick_violations(
  text, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_counters,
  occupancy.tick_decision
) from public;
