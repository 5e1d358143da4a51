create or replace function occupancy.read_counters(asked occupancy.counter[], has_quotas boolean)
returns occupancy.counter[]
language plpgsql volatile
as $$
declare
  counters occupancy.counter[] :=
    occupancy.read_key_counters(asked) || occupancy.read_agent_counters(asked);
begin
  if has_quotas then
    counters := counters || occupancy.read_quota_counters(asked);
  end if;
  return counters;
end;
$$;

comment on function occupancy.read_counters(occupancy.counter[], boolean) is
  'Internal. The counters that weigh_batch returned, with what each has in use and its limit, and '
  'what keys and agents forbid altogether. All of them are locked.';
revoke all on function occupancy.read_counters(occupancy.counter[], boolean) from public;
