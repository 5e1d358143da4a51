create or replace function occupancy.present_violations(waiting occupancy.queued_session)
returns jsonb
language plpgsql stable
as $$
declare
  queue occupancy.tick_queue;
  sessions occupancy.tick_sessions;
  shapes occupancy.tick_shapes;
  counters occupancy.tick_counters;
  d occupancy.tick_decision;
begin
  -- A tick for this one alone, of which nothing is written.
  queue.ids := array[(waiting).session_id];
  queue.priorities := array[(waiting).priority];
  queue.requests := array[(waiting).request];
  queue.gated := array[true];
  queue.reasons := array[(waiting).reason_id];
  queue.pending := array(
    select row(s.session_id, s.access_key, s.session_type = 'system', s.project)::occupancy.pending_session
    from occupancy.session s
    where s.session_id = (waiting).session_id);
  sessions := occupancy.read_tick_sessions(queue);
  shapes := occupancy.read_tick_shapes(sessions.shapes, 'dispersed');
  counters := occupancy.read_tick_counters((waiting).resource_group, 'fifo', sessions, shapes.names);
  d := occupancy.decide_tick(
    'fifo', 'dispersed', false, sessions, shapes,
    occupancy.read_tick_agents((waiting).resource_group, 'dispersed', null, shapes), counters);
  return (
    select v.violations
    from occupancy.tick_violations((waiting).resource_group, sessions, shapes, counters, d) as v);
end;
$$;

comment on function occupancy.present_violations(occupancy.queued_session) is
  'Internal. What would keep a PENDING session from being placed at this moment; NULL if nothing.';
revoke all on function occupancy.present_violations(occupancy.queued_session) from public;
