create or replace aggregate occupancy.slots_sum(jsonb) (
  sfunc = occupancy.slots_plus,
  stype = jsonb,
  initcond = '{}',
  parallel = safe
);

comment on aggregate occupancy.slots_sum(jsonb) is
  'Internal. The sum of many slots objects in stored form; {} of none.';
revoke all on function occupancy.slots_sum(jsonb) from public;
