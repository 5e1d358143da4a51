create or replace function occupancy.decide_tick(
  policy text,
  selector text,
  strict boolean,
  sessions occupancy.tick_sessions,
  shapes occupancy.tick_shapes,
  agents occupancy.tick_agents,
  counters occupancy.tick_counters
)
returns occupancy.tick_decision
language plpgsql immutable parallel safe
-- One function and loops over arrays, since each statement, and each call that is handed an array,
-- costs more than all that is decided for a session.
as $$
declare
  -- Of the arguments, those that are read or changed for every session.
  blocked constant boolean[] := sessions.blocked;
  passed constant boolean[] := sessions.passed;
  requests constant integer[] := sessions.requests;
  keys constant integer[] := sessions.keys;
  owners constant integer[] := sessions.owners;
  totals constant integer[] := sessions.totals;
  first_parts constant integer[] := sessions.first_parts;
  last_parts constant integer[] := sessions.last_parts;
  part_shapes constant integer[] := sessions.part_shapes;
  first_slots constant integer[] := shapes.first_slots;
  last_slots constant integer[] := shapes.last_slots;
  shape_slots constant integer[] := shapes.slots;
  amounts constant numeric[] := shapes.amounts;
  families constant integer[] := shapes.families;
  floors constant numeric[] := shapes.floors;
  moves constant numeric[] := agents.moves;
  owner_counters constant integer[] := counters.owner_counters;
  limited constant boolean[] := counters.limited;
  max constant numeric[] := counters.max;
  slots_max constant numeric[] := counters.slots_max;
  free numeric[] := agents.free;
  ranks numeric[] := agents.ranks;
  orders integer[] := agents.orders;
  firsts integer[] := agents.firsts;
  lasts integer[] := agents.lasts;
  used numeric[] := counters.used;
  slots_used numeric[] := counters.slots_used;
  shares numeric[] := counters.shares;
  -- How many slots, agents, shapes, families, requests and sessions there are.
  m constant integer := cardinality(shapes.names);
  n constant integer := cardinality(agents.ids);
  shapes_n constant integer := cardinality(families);
  families_n constant integer := cardinality(firsts);
  requests_n constant integer := cardinality(keys);
  sessions_n constant integer := cardinality(sessions.ids);
  roundrobin constant boolean := selector = 'roundrobin';
  drf constant boolean := policy = 'drf';
  designated constant integer[] := array(
    select case when p.agent is null then 0 else coalesce(a.position, -1) end
    from unnest(sessions.part_agents) with ordinality as p (agent, position)
    left join unnest(agents.ids) with ordinality as a (id, position) on a.id = p.agent
    order by p.position);
  -- Parts in the order in which they are given agents, if that is not their own: of a session those
  -- first that name one, so that no other part takes the room that they alone cannot do without.
  visits integer[];
  -- Shapes that fit nowhere, and for good: what is free only shrinks.
  hopeless boolean[] := array_fill(false, array[shapes_n]);
  -- What was last found for a request, and how many sessions were placed then: it holds until there
  -- is one more.
  found integer[] := array_fill(0, array[requests_n]);
  found_at integer[] := array_fill(-1, array[requests_n]);
  -- drf: the sessions that are the first of their key among their priority, and of each the one after
  -- it; the next of each key of the present priority, by the share of the key.
  heads boolean[];
  nexts integer[];
  waiting integer[] := array[]::integer[];
  answer occupancy.tick_decision;
  looked integer[] := array[]::integer[];
  looked_n integer := 0;
  verdicts integer[] := array_fill(0, array[sessions_n]);
  places integer[] := array_fill(0, array[sessions_n]);
  chosen integer[] := array_fill(0, array[cardinality(part_shapes)]);
  part_agents integer[] := array[]::integer[];
  parts_n integer := 0;
  placed_n integer := 0;
  start integer := agents.start;
  start_before integer;
  last_agent integer;
  chose boolean;
  askers integer[] := array[]::integer[];
  verdict integer := 1;
  failures integer := 0;
  v_verdict integer[];
  v_position integer[];
  v_counter integer[];
  v_slot integer[];
  v_used numeric[];
  v_requested numeric[];
  v_shape integer[];
  turn integer := 0;
  s integer;
  request integer;
  total integer;
  c integer;
  j integer;
  at integer;
  visit integer;
  part integer;
  step integer;
  shape integer;
  agent integer;
  family integer;
  place integer;
  low integer;
  high integer;
  middle integer;
  old_rank numeric;
  new_rank numeric;
  within_limits boolean;
  has_place boolean;
  fits boolean;
begin
  if cardinality(part_shapes) > requests_n then
    visits := array(
      select p.part
      from unnest(first_parts, last_parts) with ordinality as r (first, last, request)
      cross join generate_series(r.first, r.last) as p (part)
      order by r.request, designated[p.part] = 0, p.part);
  end if;
  if drf then
    select array_agg(o.head order by o.n), array_agg(o.next order by o.n) into heads, nexts
    from (
      select s.n, row_number() over by_key = 1 as head,
             (lead(s.n, 1, 0::bigint) over by_key)::integer as next
      from unnest(sessions.priorities, requests) with ordinality as s (priority, request, n)
      window by_key as (partition by s.priority, keys[s.request] order by s.n)
    ) as o;
  end if;
  loop
    -- Whose turn it is.
    turn := turn + 1;
    exit when turn > sessions_n;
    if drf and turn > 1 then
      waiting := waiting[2 : ];
      if nexts[s] > 0 then
        low := 1;
        high := cardinality(waiting) + 1;
        while low < high loop
          middle := (low + high) / 2;
          if (shares[keys[requests[waiting[middle]]]], waiting[middle])
             < (shares[keys[request]], nexts[s])
          then
            low := middle + 1;
          else
            high := middle;
          end if;
        end loop;
        waiting := waiting[ : low - 1] || nexts[s] || waiting[low : ];
      end if;
    end if;
    s := turn;
    if drf then
      if cardinality(waiting) = 0 then
        waiting := array(
          select h.n from unnest(heads, sessions.priorities, requests)
            with ordinality as h (head, priority, request, n)
          where h.head and h.priority = sessions.priorities[turn]
          order by shares[keys[h.request]], h.n);
      end if;
      s := waiting[1];
    end if;
    request := requests[s];
    continue when passed[s];
    looked_n := looked_n + 1;
    looked[looked_n] := s;
    if found_at[request] = placed_n and not blocked[s] then
      verdicts[s] := found[request];
      continue;
    end if;

    -- Its limits.
    total := totals[request];
    within_limits := not blocked[s];
    for place in 1 .. 5 loop
      c := owner_counters[(owners[request] - 1) * 5 + place];
      continue when c = 0 or not limited[c];
      if used[c] + 1 > max[c] then
        within_limits := false;
        failures := failures + 1;
        v_verdict[failures] := verdict;
        v_position[failures] := case place when 1 then 3 else place + 3 end;
        v_counter[failures] := c;
        v_slot[failures] := null;
        v_used[failures] := used[c];
        v_requested[failures] := 1;
        v_shape[failures] := null;
      end if;
      for x in first_slots[total] .. last_slots[total] loop
        at := (c - 1) * m + shape_slots[x];
        if slots_used[at] + amounts[x] > slots_max[at] then
          within_limits := false;
          failures := failures + 1;
          v_verdict[failures] := verdict;
          v_position[failures] := place + 3;
          v_counter[failures] := c;
          v_slot[failures] := shape_slots[x];
          v_used[failures] := slots_used[at];
          v_requested[failures] := amounts[x];
          v_shape[failures] := null;
        end if;
      end loop;
    end loop;

    -- Its agents: part by part, and all the way back if one of them finds none.
    start_before := start;
    chose := false;
    has_place := true;
    visit := first_parts[request];
    step := 1;
    loop
      if step = 1 then
        if visit > last_parts[request] then
          exit when within_limits;
          step := -1;
          visit := visit - 1;
          continue;
        end if;
        part := coalesce(visits[visit], visit);
        shape := part_shapes[part];
        family := families[shape];
        agent := 0;
        place := 0;
        if designated[part] > 0 then
          fits := true;
          for x in first_slots[shape] .. last_slots[shape] loop
            fits := fits and free[(designated[part] - 1) * m + shape_slots[x]] >= amounts[x];
          end loop;
          if fits then
            agent := designated[part];
          end if;
        elsif designated[part] = 0 and not hopeless[shape] then
          for nth in firsts[family] .. lasts[family] loop
            agent := case when roundrobin then orders[(start + nth - 1) % n + 1] else orders[nth] end;
            for x in first_slots[shape] .. last_slots[shape] loop
              if free[(agent - 1) * m + shape_slots[x]] < amounts[x] then
                agent := 0;
                exit;
              end if;
            end loop;
            place := nth;
            exit when agent > 0;
          end loop;
          hopeless[shape] := agent = 0 and visit = first_parts[request];
        end if;
        if agent = 0 then
          has_place := false;
          failures := failures + 1;
          v_verdict[failures] := verdict;
          v_position[failures] := case when designated[part] <> 0 then 12 else 11 end;
          v_counter[failures] := part;
          v_slot[failures] := null;
          v_used[failures] := null;
          v_requested[failures] := null;
          v_shape[failures] := shape;
          step := -1;
          visit := visit - 1;
          continue;
        end if;
        -- With limits in the way and nothing more to look for, all that is needed is known.
        exit when not within_limits and first_parts[request] = last_parts[request];
        chosen[part] := agent;
        if roundrobin and designated[part] = 0 then
          start := agent;
          chose := true;
        end if;
      else
        exit when visit < first_parts[request];
        part := coalesce(visits[visit], visit);
        shape := part_shapes[part];
        agent := chosen[part];
        chosen[part] := 0;
        place := 0;
      end if;

      -- Take from the agent, or give back, and move it to where it belongs now.
      for x in first_slots[shape] .. last_slots[shape] loop
        at := (agent - 1) * m + shape_slots[x];
        free[at] := free[at] - step * amounts[x];
      end loop;
      if not roundrobin then
        for f in 1 .. families_n loop
          at := (f - 1) * n + agent;
          old_rank := ranks[at];
          new_rank := old_rank + step * moves[(f - 1) * shapes_n + shape];
          ranks[at] := new_rank;
          if f <> family or place = 0 then
            low := firsts[f];
            high := lasts[f] + 1;
            while low < high loop
              middle := (low + high) / 2;
              c := orders[middle];
              if c <> agent and (ranks[(f - 1) * n + c], c) < (old_rank, agent) then
                low := middle + 1;
              else
                high := middle;
              end if;
            end loop;
          else
            low := place;
          end if;
          -- low: where it stands, or would stand.
          if low <= lasts[f] and orders[low] = agent then
            orders := orders[ : low - 1] || orders[low + 1 : ];
            for g in f .. families_n loop
              if g > f then
                firsts[g] := firsts[g] - 1;
              end if;
              lasts[g] := lasts[g] - 1;
            end loop;
          end if;
          fits := true;
          for x in 1 .. m loop
            fits := fits and coalesce(
              free[(agent - 1) * m + x] >= floors[(f - 1) * m + x], true);
          end loop;
          if fits then
            low := firsts[f];
            high := lasts[f] + 1;
            while low < high loop
              middle := (low + high) / 2;
              c := orders[middle];
              if (ranks[(f - 1) * n + c], c) < (new_rank, agent) then
                low := middle + 1;
              else
                high := middle;
              end if;
            end loop;
            orders := orders[ : low - 1] || agent || orders[low : ];
            for g in f .. families_n loop
              if g > f then
                firsts[g] := firsts[g] + 1;
              end if;
              lasts[g] := lasts[g] + 1;
            end loop;
          end if;
        end loop;
      end if;
      visit := visit + step;
    end loop;

    if within_limits and has_place then
      placed_n := placed_n + 1;
      places[s] := parts_n + 1;
      for x in first_parts[request] .. last_parts[request] loop
        parts_n := parts_n + 1;
        part_agents[parts_n] := chosen[x];
      end loop;
      if chose then
        last_agent := start;
      end if;
      for place in 1 .. 5 loop
        c := owner_counters[(owners[request] - 1) * 5 + place];
        continue when c = 0 or not (limited[c] or drf);
        used[c] := used[c] + 1;
        for x in first_slots[total] .. last_slots[total] loop
          j := shape_slots[x];
          at := (c - 1) * m + j;
          slots_used[at] := slots_used[at] + amounts[x];
          if drf and place = 1 and counters.codes[c] = 'concurrency_limit'
             and counters.capacity[j] > 0
          then
            shares[keys[request]] := greatest(
              shares[keys[request]], round(slots_used[at] / counters.capacity[j], 15));
          end if;
        end loop;
      end loop;
    else
      start := start_before;
      verdicts[s] := verdict;
      askers[verdict] := s;
      if not blocked[s] then
        found[request] := verdict;
        found_at[request] := placed_n;
      end if;
      verdict := verdict + 1;
    end if;
    -- Strictly in order nobody is placed past one that only lacks room.
    exit when strict and within_limits and not has_place;
  end loop;

  answer.looked := looked;
  answer.verdicts := verdicts;
  answer.places := places;
  answer.part_agents := part_agents;
  answer.last_agent := last_agent;
  answer.askers := askers;
  answer.v_verdict := v_verdict;
  answer.v_position := v_position;
  answer.v_counter := v_counter;
  answer.v_slot := v_slot;
  answer.v_used := v_used;
  answer.v_requested := v_requested;
  answer.v_shape := v_shape;
  return answer;
end;
$$;

comment on function occupancy.decide_tick(
  text, text, boolean, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_agents,
  occupancy.tick_counters
) is
  'Internal. Decides a tick in memory: session by session, in order, with what those before it '
  'took. strict: the first that finds no room is the last that is looked at.';
revoke all on function occupancy.decide_tick(
  text, text, boolean, occupancy.tick_sessions, occupancy.tick_shapes, occupancy.tick_agents,
  occupancy.tick_counters
) from public;
