create or replace function occupancy.agent_use(agent_id text)
returns setof jsonb
language sql stable
as $$
  select coalesce(occupancy.slots_sum(coalesce(k.settled_slots, k.requested_slots)), '{}')
  from occupancy.kernel k
  where k.agent_id = agent_use.agent_id and k.ended_at is null;
$$;

comment on function occupancy.agent_use(text) is
  'Internal. What an agent''s occupied_slots must be: the sum over its live kernels.';
revoke all on function occupancy.agent_use(text) from public;
