-- The table itself is part of the interface; only the functions write it.
grant select on occupancy.session_concurrency to occupancy_viewer;
