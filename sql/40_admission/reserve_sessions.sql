create or replace function occupancy.reserve_sessions(sessions jsonb)
returns setof occupancy.admission
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index, by plans that are made once; a table that was small then may be
-- bloated by now, and the rows of a batch are too few for JIT.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
  checked constant boolean := occupancy.check_batch(sessions);
  held constant occupancy.held_batch := occupancy.hold_elements(sessions);
  asked occupancy.batch := occupancy.parse_batch(held.sessions);
  fresh constant boolean := occupancy.enter_ledger();
  access_keys constant text[] := array(select s.access_key from unnest(asked.sessions) as s);
  agent_ids constant text[] := array(select k.agent_id from unnest(asked.kernels) as k);
  owners occupancy.key_owner[];
  held_owners occupancy.key_owner[];
  groups occupancy.agent_group[];
  held_groups occupancy.agent_group[];
  claimed uuid[];
  used_before occupancy.concurrency_count[];
  moved boolean;
  repeated boolean;
  has_quotas boolean;
  batch occupancy.batch;
  decided occupancy.batch;
  weighed occupancy.counter[];
  counters occupancy.counter[];
  obstacles occupancy.counter[];
begin
  -- The ids first, in one statement with all that a session's row says.
  owners := array(
    select row(k.access_key, k.user_id, k.domain)::occupancy.key_owner
    from occupancy.keypair k where k.access_key = any (access_keys)
    order by k.access_key);
  groups := array(
    select row(a.agent_id, a.resource_group)::occupancy.agent_group
    from occupancy.agent a where a.agent_id = any (agent_ids)
    order by a.agent_id);
  batch := asked;
  batch.sessions := occupancy.with_scopes(batch.sessions, batch.kernels, owners, groups);
  claimed := occupancy.claim_sessions(batch.sessions);
  if cardinality(claimed) < cardinality(batch.sessions) then
    batch := occupancy.answer_taken(batch, claimed);
  end if;
  repeated := cardinality(claimed) < cardinality(batch.sessions);
  -- Nobody creates one before this transaction ends (see enter_ledger).
  has_quotas := exists (select from occupancy.quota);
  weighed := occupancy.weigh_batch(batch, has_quotas);

  -- What is not there to be locked is not there for this batch: locked later, it would be out of
  -- order.
  held_owners := occupancy.lock_keys(access_keys);
  held_groups := occupancy.lock_agents(agent_ids);
  moved := held_owners is distinct from owners or held_groups is distinct from groups;
  if moved then
    batch.sessions :=
      occupancy.with_scopes(batch.sessions, batch.kernels, held_owners, held_groups);
    weighed := occupancy.weigh_batch(batch, has_quotas);
  end if;
  if has_quotas then
    has_quotas := occupancy.lock_quotas(
      array(select s.user_id from unnest(batch.sessions) as s where s.session_type <> 'system'),
      array(select s.project from unnest(batch.sessions) as s where s.session_type <> 'system'),
      array(select s.resource_group from unnest(batch.sessions) as s
            where s.session_type <> 'system'),
      array(select s.domain from unnest(batch.sessions) as s where s.session_type <> 'system'));
  end if;
  used_before := occupancy.counts_of(access_keys);

  -- Whoever touches only counters that have room for all of the batch is admitted wherever it
  -- stands in it. The others are decided one by one, in input order.
  counters := occupancy.read_counters(weighed, has_quotas);
  obstacles := array(select c from unnest(counters) as c where c.used + c.asked > c.max);
  loop
    decided := batch;
    if cardinality(obstacles) > 0 or repeated
       or exists (select from unnest(batch.sessions) as s where s.code is not null)
    then
      decided := occupancy.decide_doubts(batch, obstacles);
    end if;
    exit when occupancy.insert_batch_kernels(decided.kernels);
    obstacles := array(select o from unnest(obstacles) as o where o.kind <> 'kernel')
      || occupancy.weigh_kernels(batch.kernels);
  end loop;
  if cardinality(decided.sessions) < cardinality(batch.sessions) then
    counters := occupancy.read_counters(
      occupancy.weigh_batch(decided, has_quotas), has_quotas);
  end if;
  perform occupancy.charge_counters(counters);
  perform occupancy.settle_claims(claimed, decided.sessions, moved or repeated);
  if held.epochs is null then
    return query select a.* from occupancy.batch_answers(asked, decided, used_before) as a;
  else
    return query
      select h.* from occupancy.hold_answers(
        held, array(select a from occupancy.batch_answers(asked, decided, used_before) as a)) as h;
  end if;
end;
$$;

comment on function occupancy.reserve_sessions(jsonb) is
  'Reserves a batch: an array, of at most 10,000, of objects with the argument names of '
  'reserve_session. Same decisions as one call each in that order, in one transaction; answers in '
  'input order. A rejection stops nobody else, nor does an element with a mistake: its outcome is '
  'invalid, its code the OC code. OC005 for what is no array of objects.';
revoke all on function occupancy.reserve_sessions(jsonb) from public;
grant execute on function occupancy.reserve_sessions(jsonb) to occupancy_manager;
