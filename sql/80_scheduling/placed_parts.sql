create or replace function occupancy.placed_parts(
  sessions occupancy.tick_sessions,
  agents occupancy.tick_agents,
  d occupancy.tick_decision
)
returns table (session_id uuid, kernels jsonb)
language sql stable
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
  select p.id, (
    select jsonb_agg(
      k.kernel || jsonb_build_object('agent', agents.ids[d.part_agents[
        p.place + least(k.position - 1, sessions.last_parts[p.request]
                                        - sessions.first_parts[p.request])]])
      order by k.position)
    from jsonb_array_elements(q.kernels) with ordinality as k (kernel, position))
  from unnest(sessions.ids, sessions.requests, d.places) as p (id, request, place)
  join occupancy.queued_session q on q.session_id = p.id
  where p.place > 0
    and q.session_id = any (array(
      select p.id from unnest(sessions.ids, d.places) as p (id, place) where p.place > 0));
$$;

comment on function occupancy.placed_parts(
  occupancy.tick_sessions, occupancy.tick_agents, occupancy.tick_decision
) is
  'Internal. The sessions that a tick places, their kernels with the agents that it chose.';
revoke all on function occupancy.placed_parts(
  occupancy.tick_sessions, occupancy.tick_agents, occupancy.tick_decision
) from public;
