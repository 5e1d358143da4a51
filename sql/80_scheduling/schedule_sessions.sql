create or replace function occupancy.schedule_sessions(
  resource_group text default 'default',
  max_sessions integer default 1000,
  policy text default 'fifo',
  selector text default 'dispersed',
  tries integer default 3
)
returns setof occupancy.scheduling
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index, by plans that are made once; a table that was small then may be
-- bloated by now, and the rows of a batch are too few for JIT. What 10,000 sessions ask for, and why
-- they wait, stays in memory.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set work_mem = '32MB'
as $$
declare
  checked constant boolean := occupancy.check_tick(
    resource_group, max_sessions, policy, selector, tries);
  last_agent text;
  held uuid[];
  sessions occupancy.tick_sessions;
  shapes occupancy.tick_shapes;
  agents occupancy.tick_agents;
  counters occupancy.tick_counters;
  d occupancy.tick_decision;
  placed_ids uuid[];
  placed_on jsonb[];
  robbed uuid[];
  waiting_ids uuid[];
  reasons jsonb[];
begin
  -- Most ticks of a scheduler find nobody, and some are of a group that does not exist: they lock
  -- nothing and leave nothing.
  if not exists (
    select from occupancy.queued_session q
    where q.resource_group = schedule_sessions.resource_group
  ) then
    return;
  end if;
  perform occupancy.enter_ledger();
  -- Ticks of one group take turns here.
  insert into occupancy.scheduled_group (resource_group)
  values (schedule_sessions.resource_group)
  on conflict do nothing;
  select g.last_agent into last_agent
  from occupancy.scheduled_group g
  where g.resource_group = schedule_sessions.resource_group
  for no key update;

  held := occupancy.lock_tick(resource_group, max_sessions, policy, tries);
  if cardinality(held) = 0 then
    return;
  end if;
  sessions := occupancy.read_tick_sessions(policy, held);
  shapes := occupancy.read_tick_shapes(sessions.shapes, selector);
  agents := occupancy.read_tick_agents(resource_group, selector, last_agent, shapes);
  counters := occupancy.read_tick_counters(resource_group, sessions, shapes.names);
  loop
    d := occupancy.decide_tick(
      policy, selector, policy = 'fifo' and tries = 0, sessions, shapes, agents, counters);
    select coalesce(array_agg(p.session_id), '{}'), array_agg(p.kernels) into placed_ids, placed_on
    from occupancy.placed_parts(sessions, agents, d) as p;
    robbed := occupancy.insert_placed_kernels(placed_ids, placed_on);
    exit when robbed is null;
    -- Somebody whom no lock of ours stops has reserved with their kernel ids since we looked. They
    -- wait, and what they would have had is for the others.
    sessions.blocked := array(
      select s.blocked or s.id = any (robbed)
      from unnest(sessions.ids, sessions.blocked) with ordinality as s (id, blocked, n)
      order by s.n);
  end loop;
  perform occupancy.write_tick(resource_group, placed_ids, placed_on);
  select array_agg(sessions.ids[v.session]), array_agg(v.violations) into waiting_ids, reasons
  from occupancy.tick_violations(resource_group, sessions, shapes, counters, d) as v;
  update occupancy.queued_session q
  set tries = q.tries + 1, tried_at = occupancy.clock(), violations = w.violations
  from unnest(waiting_ids, reasons) as w (session_id, violations)
  where q.session_id = w.session_id;
  update occupancy.scheduled_group g
  set ticked_at = occupancy.clock(),
      -- Its own choices move roundrobin on, and nothing else does.
      last_agent = case when selector = 'roundrobin' and exists (
          select from unnest(d.part_agents, sessions.part_agents) as p (chosen, designated)
          where p.chosen > 0 and p.designated is null)
        then agents.ids[d.last_agent] else g.last_agent end
  where g.resource_group = schedule_sessions.resource_group;

  return query
    select a.session_id, case when a.kernels is null then 'waiting' else 'placed' end,
           a.violations #>> '{0,code}', a.violations #>> '{0,message}', a.violations,
           (select jsonb_agg(jsonb_build_object(
              'kernel_id', k.kernel -> 'kernel_id', 'agent', k.kernel -> 'agent')
              order by k.position)
            from jsonb_array_elements(a.kernels) with ordinality as k (kernel, position))
    from (
      select l.position, sessions.ids[l.session] as session_id, p.kernels, w.violations
      from unnest(d.looked) with ordinality as l (session, position)
      left join unnest(placed_ids, placed_on) as p (session_id, kernels)
        on p.session_id = sessions.ids[l.session]
      left join unnest(waiting_ids, reasons) as w (session_id, violations)
        on w.session_id = sessions.ids[l.session]
    ) as a
    order by a.position;
end;
$$;

comment on function occupancy.schedule_sessions(text, integer, text, text, integer) is
  'One tick: places as many of the first max_sessions (at most 10,000) PENDING sessions of a '
  'resource group as there is room for, in one transaction, exact against every limit. policy, '
  'inside a priority: fifo (after so many failed tries a session steps aside; tries 0: strictly in '
  'order, nobody passes one that finds no room), lifo or drf. selector: concentrated, dispersed, '
  'roundrobin or legacy. A row per session looked at, in that order: placed, with its kernels and '
  'their agents, or waiting, with the code and all violations. OC005, OC008.';
revoke all on function occupancy.schedule_sessions(text, integer, text, text, integer) from public;
grant execute on function occupancy.schedule_sessions(text, integer, text, text, integer)
  to occupancy_manager;
