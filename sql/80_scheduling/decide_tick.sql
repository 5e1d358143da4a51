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
  -- How many slots, agents, shapes, families and sessions there are.
  m constant integer := cardinality(shapes.names);
  n constant integer := cardinality(agents.ids);
  shapes_n constant integer := cardinality(families);
  families_n constant integer := cardinality(firsts);
  sessions_n constant integer := cardinality(sessions.ids);
  roundrobin constant boolean := selector = 'roundrobin';
  drf constant boolean := policy = 'drf';
  designated constant integer[] := array(
    select case when p.agent is null then 0 else coalesce(a.position, -1) end
    from unnest(sessions.part_agents) with ordinality as p (agent, position)
    left join unnest(agents.ids) with ordinality as a (id, position) on a.id = p.agent
    order by p.position);
  -- Shapes that fit nowhere, and for good: what is free only shrinks.
  hopeless boolean[] := array_fill(false, array[shapes_n]);
  -- drf: the next session of each key of the present priority, by the share of the key.
  waiting integer[] := array[]::integer[];
  answer occupancy.tick_decision;
  looked integer[] := array[]::integer[];
  placed boolean[] := array_fill(false, array[sessions_n]);
  chosen integer[] := array_fill(0, array[cardinality(part_shapes)]);
  start integer := agents.start;
  start_before integer;
  failures integer := 0;
  v_session integer[];
  v_position integer[];
  v_counter integer[];
  v_slot integer[];
  v_used numeric[];
  v_requested numeric[];
  v_shape integer[];
  turn integer := 0;
  s integer;
  total integer;
  c integer;
  j integer;
  at integer;
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
  loop
    -- Whose turn it is.
    turn := turn + 1;
    exit when turn > sessions_n;
    s := turn;
    if drf then
      if cardinality(waiting) = 0 then
        waiting := array(
          select h.n from unnest(sessions.heads, sessions.priorities, keys)
            with ordinality as h (head, priority, key, n)
          where h.head and h.priority = sessions.priorities[turn]
          order by shares[h.key], h.n);
      end if;
      s := waiting[1];
    end if;
    looked[turn] := s;

    -- Its limits.
    total := totals[s];
    within_limits := not blocked[s];
    for place in 1 .. 5 loop
      c := owner_counters[(owners[s] - 1) * 5 + place];
      continue when c = 0 or not limited[c];
      if used[c] + 1 > max[c] then
        within_limits := false;
        failures := failures + 1;
        v_session[failures] := s;
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
          v_session[failures] := s;
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
    has_place := true;
    part := first_parts[s];
    step := 1;
    loop
      if step = 1 then
        if part > last_parts[s] then
          exit when within_limits;
          step := -1;
          part := part - 1;
          continue;
        end if;
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
          hopeless[shape] := agent = 0 and part = first_parts[s];
        end if;
        if agent = 0 then
          has_place := false;
          failures := failures + 1;
          v_session[failures] := s;
          v_position[failures] := case when designated[part] <> 0 then 12 else 11 end;
          v_counter[failures] := part;
          v_slot[failures] := null;
          v_used[failures] := null;
          v_requested[failures] := null;
          v_shape[failures] := shape;
          step := -1;
          part := part - 1;
          continue;
        end if;
        -- With limits in the way and nothing more to look for, all that is needed is known.
        exit when not within_limits and first_parts[s] = last_parts[s];
        chosen[part] := agent;
        if roundrobin and designated[part] = 0 then
          start := agent;
        end if;
      else
        exit when part < first_parts[s];
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
      part := part + step;
    end loop;

    if within_limits and has_place then
      placed[s] := true;
      for place in 1 .. 5 loop
        c := owner_counters[(owners[s] - 1) * 5 + place];
        continue when c = 0 or not (limited[c] or drf);
        used[c] := used[c] + 1;
        for x in first_slots[total] .. last_slots[total] loop
          j := shape_slots[x];
          at := (c - 1) * m + j;
          slots_used[at] := slots_used[at] + amounts[x];
          if drf and place = 1 and counters.codes[c] = 'concurrency_limit'
             and counters.capacity[j] > 0
          then
            shares[keys[s]] := greatest(
              shares[keys[s]], round(slots_used[at] / counters.capacity[j], 15));
          end if;
        end loop;
      end loop;
    else
      start := start_before;
    end if;
    -- Strictly in order nobody is placed past one that only lacks room.
    exit when strict and within_limits and not has_place;

    if drf then
      waiting := waiting[2 : ];
      if sessions.nexts[s] > 0 then
        low := 1;
        high := cardinality(waiting) + 1;
        while low < high loop
          middle := (low + high) / 2;
          if (shares[keys[waiting[middle]]], waiting[middle])
             < (shares[keys[s]], sessions.nexts[s])
          then
            low := middle + 1;
          else
            high := middle;
          end if;
        end loop;
        waiting := waiting[ : low - 1] || sessions.nexts[s] || waiting[low : ];
      end if;
    end if;
  end loop;

  answer.looked := looked;
  answer.placed := placed;
  answer.part_agents := chosen;
  answer.last_agent := start;
  answer.v_session := v_session;
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
