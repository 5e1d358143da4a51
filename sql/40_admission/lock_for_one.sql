create or replace function occupancy.lock_for_one(
  access_key text,
  agent_ids text[],
  user_id text,
  project text,
  resource_group text,
  domain text
)
returns void
language plpgsql volatile
as $$
begin
  perform from occupancy.keypair k
  where k.access_key = lock_for_one.access_key for no key update;
  perform from occupancy.agent a
  where a.agent_id = any (agent_ids)
  order by a.agent_id for no key update;
  perform occupancy.lock_quotas(
    array[user_id], array[project], array[resource_group], array[domain]);
end;
$$;

comment on function occupancy.lock_for_one(text, text[], text, text, text, text) is
  'Internal. Takes the locks of all that a reservation touches.';
revoke all on function occupancy.lock_for_one(text, text[], text, text, text, text) from public;
