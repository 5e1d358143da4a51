create or replace function occupancy.weigh_batch(batch occupancy.batch, has_quotas boolean)
returns occupancy.counter[]
language plpgsql volatile
as $$
declare
  counters occupancy.counter[] := occupancy.weigh_keys(batch)
    || occupancy.weigh_agents(batch.kernels);
begin
  if has_quotas then
    counters := counters || occupancy.weigh_quotas(batch);
  end if;
  return counters;
end;
$$;

comment on function occupancy.weigh_batch(occupancy.batch, boolean) is
  'Internal. What a batch asks of every counter together, which needs no lock: read_counters adds '
  'what each has in use, and its limit.';
revoke all on function occupancy.weigh_batch(occupancy.batch, boolean) from public;
