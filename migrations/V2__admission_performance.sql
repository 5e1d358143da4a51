-- compatibility: additive
--
-- Retired: a reservation writes its kernels itself.

drop function if exists occupancy.insert_kernels(uuid, occupancy.placement);
