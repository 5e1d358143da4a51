-- compatibility: additive
--
-- What the audit finds broken it also tells how to mend.

alter type occupancy.finding add attribute remedy text;
comment on type occupancy.finding is
  'One broken invariant, and the call that mends it.';
