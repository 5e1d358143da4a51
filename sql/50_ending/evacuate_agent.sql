create or replace function occupancy.evacuate_agent(agent_id text)
returns setof occupancy.kernel_outcome
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index, by plans that are made once; a table that was small then may be
-- bloated by now, and the rows of a batch are too few for JIT.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
  checked constant boolean := occupancy.check_name(agent_id, 'agent_id');
  fresh constant boolean := occupancy.enter_ledger();
  sessions uuid[];
  held occupancy.session;
  live record;
begin
  if not exists (select from occupancy.agent a where a.agent_id = evacuate_agent.agent_id) then
    raise exception 'unknown agent'
      using errcode = 'OC003', detail = agent_id, hint = 'register it with occupancy.put_agent';
  end if;
  select coalesce(array_agg(locked.session_id), '{}') into sessions
  from (
    select s.session_id from occupancy.session s
    where s.session_id = any (array(
      select distinct k.session_id from occupancy.kernel k
      where k.agent_id = evacuate_agent.agent_id and k.ended_at is null
      order by k.session_id limit 10000))
    order by s.session_id
    for no key update
  ) as locked;
  perform occupancy.lock_charged(sessions);
  -- An old snapshot does not show a kernel that began since: then this fails with 40001.
  if not fresh then
    perform from occupancy.agent a
    where a.agent_id = evacuate_agent.agent_id for no key update;
  end if;
  -- Again, since one of them may have ended before its session was locked.
  for live in
    select k.kernel_id, k.session_id from occupancy.kernel k
    where k.agent_id = evacuate_agent.agent_id and k.ended_at is null
      and k.session_id = any (sessions)
    order by k.kernel_id
  loop
    select s.* into held from occupancy.session s where s.session_id = live.session_id;
    return next row(
      live.kernel_id, live.session_id, 'released',
      occupancy.free_kernel(held, live.kernel_id))::occupancy.kernel_outcome;
  end loop;
end;
$$;

comment on function occupancy.evacuate_agent(text) is
  'The kernels of an agent are gone: release_kernel for each that is there when it is called, in '
  'one transaction, a row each, of at most 10,000 sessions a call. Its capacity is free again '
  'whatever its status; to keep new kernels off, let it be LOST (sweep_agents) or not schedulable '
  'first. OC003, OC005, OC010.';
revoke all on function occupancy.evacuate_agent(text) from public;
grant execute on function occupancy.evacuate_agent(text) to occupancy_admin;
