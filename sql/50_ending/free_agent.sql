create or replace function occupancy.free_agent(agent_id text, slots jsonb)
returns void
language plpgsql volatile
as $$
begin
  -- No row: somebody deleted the agent by hand; audit() names it.
  update occupancy.agent a
  set occupied_slots = occupancy.slots_minus(a.occupied_slots, slots, 'agent ' || a.agent_id)
  where a.agent_id = free_agent.agent_id;
end;
$$;

comment on function occupancy.free_agent(text, jsonb) is
  'Internal. Gives slots of an agent back. OC010 below zero.';
revoke all on function occupancy.free_agent(text, jsonb) from public;
