-- compatibility: additive
--
-- A reservation writes its holder along with the session. Retired is the signature that could not.

drop function if exists occupancy.reserve(
  uuid, text, text, text, occupancy.placement, boolean);
