create or replace function occupancy.batch_without(batch occupancy.batch, positions integer[])
returns occupancy.batch
language plpgsql immutable
set enable_nestloop = off
as $$
begin
  if cardinality(positions) > 0 then
    batch.sessions := array(
      select s from unnest(batch.sessions) as s where s.position not in (select unnest(positions)));
    batch.kernels := array(
      select k from unnest(batch.kernels) as k where k.session not in (select unnest(positions)));
  end if;
  return batch;
end;
$$;

comment on function occupancy.batch_without(occupancy.batch, integer[]) is
  'Internal. A batch without the sessions at the positions.';
revoke all on function occupancy.batch_without(occupancy.batch, integer[]) from public;
