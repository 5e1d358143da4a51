-- compatibility: additive
--
-- Retired: slots are given back before the keys are locked, and whoever gives them back is told which
-- sessions had none; who ticks says whether to wait for a tick that is under way.

drop function if exists occupancy.give_back_slots(uuid[]);
drop function if exists occupancy.schedule_sessions(text, integer, text, text, integer);
drop function if exists occupancy.check_tick(text, integer, text, text, integer);
