create or replace function occupancy.tick_violations(
  resource_group text,
  sessions occupancy.tick_sessions,
  shapes occupancy.tick_shapes,
  counters occupancy.tick_counters,
  d occupancy.tick_decision
)
returns table (session_id uuid, violations jsonb)
language sql stable
as $$
  -- Each distinct one is worded once: a whole queue may wait for the same.
  with failed as (
    select v.*, case when v.place >= 11 then sessions.part_agents[v.counter] end as designated
    from unnest(d.v_session, d.v_position, d.v_counter, d.v_slot, d.v_used, d.v_requested, d.v_shape)
      as v (session, place, counter, slot, used, requested, shape)
  ),
  worded as (
    select f.place, array_agg(f.session) as sessions,
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
           else
             occupancy.no_place_violation(
               resource_group, f.designated, sessions.shapes[f.shape])
           end as violation
    from (
      select f.session, f.place, case when f.place < 11 then f.counter end as counter, f.slot,
             f.used, f.requested, f.shape, f.designated
      from failed f
    ) as f
    group by f.place, f.counter, f.slot, f.used, f.requested, f.shape, f.designated
  ),
  listed as (
    select s.session, w.place + 2 as place, w.violation
    from worded w, unnest(w.sessions) as s (session)
    union all
    select b.session, v.place, v.violation
    from unnest(sessions.ids, sessions.blocked) with ordinality as b (id, blocked, session)
    join occupancy.queued_session q on q.session_id = b.id
    cross join lateral occupancy.blocking_violations(q) as v
    where b.blocked and b.session = any (d.looked)
  )
  select sessions.ids[l.session], jsonb_agg(l.violation order by l.place, l.violation ->> 'slot')
  from listed l
  group by l.session;
$$;

comment on function occupancy.tick_violations(
  text, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_counters,
  occupancy.tick_decision
) is
  'Internal. Why the sessions of a tick that are not placed wait.';
revoke all on function occupancy.tick_violations(
  text, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_counters,
  occupancy.tick_decision
) from public;
