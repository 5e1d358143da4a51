-- Sessions of the past and live ones, spread over the given keys and over all agents, and every
-- counter as if they had been reserved one by one.
create function fill.sessions(
  ended bigint,
  live bigint,
  first_key integer,
  keys integer,
  agents integer,
  slots jsonb
)
returns void
language plpgsql volatile
as $$
begin
  with filled as (
    select gen_random_uuid() as session_id, 'AK-' || first_key + n % keys as access_key,
           'i-' || 1 + n % agents as agent_id,
           clock_timestamp() - n * interval '50 ms' as created_at,
           case when n > live then clock_timestamp() - n * interval '40 ms' end as ended_at
    from generate_series(1, live + ended) as n
  ), sessions as (
    insert into occupancy.session (
      session_id, status, access_key, session_type, user_id, resource_group, domain, created_at,
      ended_at)
    select f.session_id, case when f.ended_at is null then 'RUNNING' else 'TERMINATED' end,
           f.access_key, 'interactive', k.user_id, 'default', k.domain, f.created_at, f.ended_at
    from filled f
    join occupancy.keypair k on k.access_key = f.access_key
  )
  insert into occupancy.kernel (
    kernel_id, session_id, position, id_generated, agent_id, requested_slots, ended_at)
  select gen_random_uuid(), f.session_id, 1, false, f.agent_id, slots, f.ended_at
  from filled f;
  perform occupancy.recalc_concurrency_fullscan();
  perform occupancy.recalc_agents_fullscan();
end;
$$;
