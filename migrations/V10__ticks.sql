-- compatibility: additive
--
-- Retired: signatures that a tick reads its queue and words its answers by.

drop function if exists occupancy.read_tick_sessions(text, text, integer, uuid[]);
drop function if exists occupancy.no_place_violation(text, text, jsonb);
drop function if exists occupancy.tick_violations(
  text, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_counters,
  occupancy.tick_decision);
