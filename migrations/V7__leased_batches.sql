-- compatibility: additive
--
-- Elements of a batch may name a holder.

create type occupancy.held_batch as (
  sessions  jsonb,
  epochs    bigint[],
  answers   occupancy.admission[]
);
comment on type occupancy.held_batch is
  'Internal. A batch without its holders; their epochs by position (NULL = nobody names one), and '
  'the answers to elements that are refused because of them.';
