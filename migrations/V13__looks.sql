-- compatibility: additive
--
-- Retired: what is compared and what is added up are one function, and who is turned away is told
-- what was read of its key.

drop function if exists occupancy.slots_fit(jsonb, jsonb, jsonb, text);
drop function if exists occupancy.agents_known(text[]);
drop function if exists occupancy.turn_away(uuid, text, text, text, occupancy.placement, bigint);
