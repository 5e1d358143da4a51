-- The table itself is part of the interface; only the functions write it.
grant select on occupancy.session_concurrency to occupancy_viewer;

-- Whoever writes it by hand all the same, changes the counters with it. The functions, which run as
-- the owner, set the counters themselves; for them a condition is all that this costs. A hand-made
-- statement has its rows before it waits for their keys, as only functions know both beforehand: at
-- worst it meets a release of the very same session and one of the two gives way (40P01).
create or replace trigger count_by_hand
after insert or update or delete on occupancy.session_concurrency
for each row when (current_user <> 'occupancy_owner')
execute function occupancy.count_by_hand();
comment on trigger count_by_hand on occupancy.session_concurrency is
  'Keeps counters equal to rows when rows are changed by hand.';

create or replace trigger count_by_hand_all
after truncate on occupancy.session_concurrency
for each statement when (current_user <> 'occupancy_owner')
execute function occupancy.count_by_hand();
comment on trigger count_by_hand_all on occupancy.session_concurrency is
  'Keeps counters equal to rows when all rows are removed by hand.';
