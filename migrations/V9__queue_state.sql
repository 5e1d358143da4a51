-- compatibility: additive
--
-- How long the queues are, in numbers for people and for dashboards.

create type occupancy.queue_state as (
  resource_group  text,
  sessions        bigint,
  untried         bigint,
  oldest_at       timestamptz,
  oldest_seconds  double precision
);
comment on type occupancy.queue_state is
  'The queue of a resource group: how many sessions wait in it, how many of them no tick has looked '
  'at yet, and since when the oldest waits, also in seconds by the database''s clock.';
