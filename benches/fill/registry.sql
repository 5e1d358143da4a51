-- Keys AK-1, AK-2, … and agents i-1, i-2, … with room for everything that a run asks for, and a key
-- AK-full at its limit. With quotas, four keys share a user, and every key, user, project and the
-- one domain is limited in sessions and in slots.
create function fill.registry(keys integer, agents integer, quotas boolean)
returns void
language plpgsql volatile
as $$
declare
  plenty constant bigint := 1000000000;
  slots constant jsonb := jsonb_build_object(
    'cpu', plenty, 'mem', '1000000t', 'cuda.shares', plenty);
begin
  perform occupancy.put_resource_policy(
    'bench', max_concurrent_sessions => plenty,
    total_resource_slots => case when quotas then slots end);
  perform occupancy.put_keypair(
      'AK-' || n, 'user-' || n / 4, 'bench', domain => case when quotas then 'domain' end)
    from generate_series(1, keys) as n;
  perform occupancy.put_agent('i-' || n, slots) from generate_series(1, agents) as n;
  if quotas then
    perform occupancy.put_quota('user', 'user-' || n, plenty, slots)
      from generate_series(0, keys / 4) as n;
    perform occupancy.put_quota('project', 'project-' || n, plenty, slots)
      from generate_series(0, 49) as n;
    perform occupancy.put_quota('domain', 'domain', plenty, slots);
  end if;

  perform occupancy.put_resource_policy('full', max_concurrent_sessions => 10);
  perform occupancy.put_keypair('AK-full', 'user-full', 'full');
  perform occupancy.reserve_session(
      gen_random_uuid(), 'AK-full', '[{"agent": "i-1", "slots": {"cpu": 1}}]')
    from generate_series(1, 10) as n;
end;
$$;
