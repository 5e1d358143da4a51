create or replace function occupancy.schedule_sessions(
  resource_group text default 'default',
  max_sessions integer default 1000,
  policy text default 'fifo',
  selector text default 'dispersed',
  tries integer default 3,
  wait boolean default true
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
    resource_group, max_sessions, policy, selector, tries, wait);
  last_agent text;
  queue occupancy.tick_queue;
  sessions occupancy.tick_sessions;
  shapes occupancy.tick_shapes;
  agents occupancy.tick_agents;
  counters occupancy.tick_counters;
  d occupancy.tick_decision;
  placed_ids uuid[];
  placed_on jsonb[];
  busy uuid[];
  robbed uuid[];
  words jsonb[];
  codes text[];
  messages text[];
  verdicts integer[];
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
  if wait then
    perform pg_advisory_xact_lock(1868788291, hashtext(resource_group));
  elsif not pg_try_advisory_xact_lock(1868788291, hashtext(resource_group)) then
    return query select null::uuid, 'busy', null, null, null::jsonb, null::jsonb;
    return;
  end if;
  insert into occupancy.scheduled_group (resource_group)
  values (schedule_sessions.resource_group)
  on conflict do nothing;
  select g.last_agent into last_agent
  from occupancy.scheduled_group g
  where g.resource_group = schedule_sessions.resource_group;

  queue := occupancy.lock_tick(resource_group, max_sessions, policy, tries);
  if cardinality(queue.pending) = 0 then
    return;
  end if;
  sessions := occupancy.read_tick_sessions(queue);
  shapes := occupancy.read_tick_shapes(sessions.shapes, selector);
  agents := occupancy.read_tick_agents(resource_group, selector, last_agent, shapes);
  counters := occupancy.read_tick_counters(resource_group, policy, sessions, shapes.names);
  loop
    d := occupancy.decide_tick(
      policy, selector, policy = 'fifo' and tries = 0, sessions, shapes, agents, counters);
    select coalesce(array_agg(p.session_id), '{}'), array_agg(p.kernels) into placed_ids, placed_on
    from occupancy.placed_parts(sessions, agents, d) as p;
    busy := occupancy.lock_placed(placed_ids);
    robbed := case when busy is null
      then occupancy.insert_placed_kernels(placed_ids, placed_on) end;
    exit when busy is null and robbed is null;
    -- Somebody cancels what we would place, or, since no lock of ours stops him, has reserved with its
    -- kernel ids since we looked. The one is passed over, the other waits; what they would have had
    -- is for the others.
    sessions.passed := array(
      select coalesce(s.passed, false) or coalesce(s.id = any (busy), false)
      from unnest(sessions.ids, sessions.passed) with ordinality as s (id, passed, n)
      order by s.n);
    sessions.blocked := array(
      select s.blocked or coalesce(s.id = any (robbed), false)
      from unnest(sessions.ids, sessions.blocked) with ordinality as s (id, blocked, n)
      order by s.n);
  end loop;
  perform occupancy.write_tick(resource_group, placed_ids, placed_on);
  with worded as materialized (
    select row_number() over () as n, v.verdicts, v.violations
    from occupancy.tick_violations(resource_group, sessions, shapes, counters, d) as v
  ), numbered as (
    select array_agg(w.n order by w.verdict) as numbers
    from (select w.n, unnest(w.verdicts) as verdict from worded w) as w
  )
  select (select array_agg(w.violations order by w.n) from worded w),
         array(select coalesce(n.numbers[v.verdict], 0) from unnest(d.verdicts) as v (verdict))
  into words, verdicts
  from numbered n;
  perform occupancy.note_waiting(
    resource_group, sessions, verdicts, words, cardinality(d.looked) = cardinality(queue.ids));
  update occupancy.scheduled_group g
  set ticked_at = occupancy.clock(),
      -- Its own choices move roundrobin on, and nothing else does.
      last_agent = case selector when 'roundrobin'
        then coalesce(agents.ids[d.last_agent], g.last_agent) else g.last_agent end
  where g.resource_group = schedule_sessions.resource_group;

  codes := array(select w.violations #>> '{0,code}' from unnest(words) as w (violations));
  messages := array(select w.violations #>> '{0,message}' from unnest(words) as w (violations));
  return query
    select sessions.ids[l.session], case when l.verdict = 0 then 'placed' else 'waiting' end,
           codes[l.verdict], messages[l.verdict], words[l.verdict], l.kernels
    from (
      select l.session, verdicts[l.session] as verdict, (
        select jsonb_agg(jsonb_build_object(
          'kernel_id', k.kernel -> 'kernel_id', 'agent', k.kernel -> 'agent') order by k.position)
        from jsonb_array_elements(p.kernels) with ordinality as k (kernel, position)) as kernels
      from unnest(d.looked) with ordinality as l (session, position)
      left join unnest(placed_ids, placed_on) as p (session_id, kernels)
        on p.session_id = sessions.ids[l.session]
      order by l.position
    ) as l;
end;
$$;

comment on function occupancy.schedule_sessions(text, integer, text, text, integer, boolean) is
  'One tick: places as many of the first max_sessions (at most 10,000) PENDING sessions of a '
  'resource group as there is room for, in one transaction, exact against every limit. policy, '
  'inside a priority: fifo (after so many failed tries a session steps aside; tries 0: strictly in '
  'order, nobody passes one that finds no room), lifo, or drf (the key with the least share first, '
  'and keys take turns at being among the first max_sessions). selector: concentrated, dispersed, '
  'roundrobin or legacy. A row per session looked at, in that order: placed, with its kernels and '
  'their agents, or waiting, with the code and all violations. wait: false does not wait for a tick '
  'of this group that is under way, and answers with one row, busy, instead: who waits keeps '
  'versions of rows from being removed. OC005, OC008.';
revoke all on function occupancy.schedule_sessions(text, integer, text, text, integer, boolean)
  from public;
grant execute on function occupancy.schedule_sessions(text, integer, text, text, integer, boolean)
  to occupancy_manager;
