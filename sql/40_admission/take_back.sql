create or replace function occupancy.take_back(
  session_id uuid,
  access_key text,
  system boolean,
  placed occupancy.placement,
  used bigint,
  agents_charged integer
)
returns void
language plpgsql volatile
as $$
begin
  update occupancy.keypair k
  set compute_used = k.compute_used - (not system)::integer,
      system_used = k.system_used - system::integer,
      occupied_slots = case when system then k.occupied_slots
                            else occupancy.slots_minus(
                              k.occupied_slots, placed.total, 'keypair ' || k.access_key) end
  where used is not null and k.access_key = take_back.access_key;
  for i in 1 .. agents_charged loop
    update occupancy.agent a
    set occupied_slots = occupancy.slots_minus(
      a.occupied_slots, placed.agent_slots[i], 'agent ' || a.agent_id)
    where a.agent_id = placed.agent_ids[i];
  end loop;
  perform occupancy.withdraw(session_id);
end;
$$;

comment on function occupancy.take_back(
  uuid, text, boolean, occupancy.placement, bigint, integer
) is
  'Internal. Undoes what a reservation has written that found no room at last: the claim of its '
  'id, the charge of the key (unless used is NULL) and of the first agents.';
revoke all on function occupancy.take_back(
  uuid, text, boolean, occupancy.placement, bigint, integer
) from public;
