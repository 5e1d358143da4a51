-- compatibility: additive
--
-- Retired: a release writes the session before it locks what others wait for, and what frees kernels
-- is told whether they are charged.

drop function if exists occupancy.free_kernels(occupancy.session, uuid);
drop function if exists occupancy.free_agent(text, jsonb);
