create or replace function occupancy.write_tick(
  resource_group text,
  placed_ids uuid[],
  kernels jsonb[]
)
returns void
language plpgsql volatile
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
declare
  moment constant timestamptz := occupancy.clock();
begin
  -- What the ledger says of a reserved session beside its kernels: counters, then who has a slot.
  with sums as (
    select k.kernel ->> 'agent' as agent_id, occupancy.slots_sum(k.kernel -> 'slots') as slots
    from unnest(kernels) as p (kernels)
    cross join lateral jsonb_array_elements(p.kernels) as k (kernel)
    group by k.kernel ->> 'agent'
  )
  update occupancy.agent a
  set occupied_slots = occupancy.slots_plus(a.occupied_slots, s.slots)
  from sums s
  where a.agent_id = s.agent_id and a.agent_id = any (array(select s.agent_id from sums s));

  with placed as materialized (
    select s.session_id, s.access_key, s.session_type = 'system' as system, s.project, k.user_id,
           k.domain, q.total_slots, q.dependencies
    from occupancy.queued_session q
    join occupancy.session s on s.session_id = q.session_id
    join occupancy.keypair k on k.access_key = s.access_key
    where q.session_id = any (placed_ids) and s.session_id = any (placed_ids)
      and k.access_key = any (array(
        select s.access_key from occupancy.session s where s.session_id = any (placed_ids)))
  ), keys as materialized (
    select p.access_key, count(*) filter (where not p.system) as compute,
           count(*) filter (where p.system) as system,
           occupancy.slots_sum(p.total_slots) filter (where not p.system) as slots
    from placed p
    group by p.access_key
  ), keys_charged as (
    update occupancy.keypair k
    set compute_used = k.compute_used + s.compute, system_used = k.system_used + s.system,
        occupied_slots = occupancy.slots_plus(k.occupied_slots, coalesce(s.slots, '{}'))
    from keys s
    where k.access_key = s.access_key and k.access_key = any (array(select s.access_key from keys s))
  ), queues_freed as (
    update occupancy.key_queue q
    set sessions = occupancy.count_minus(q.sessions, s.compute, 'queue of ' || q.access_key),
        slots = occupancy.slots_minus(
          q.slots, coalesce(s.slots, '{}'), 'queue of ' || q.access_key)
    from keys s
    where q.access_key = s.access_key and q.access_key = any (array(select s.access_key from keys s))
  ), quotas_charged as (
    update occupancy.quota q
    set used = q.used + s.sessions,
        occupied_slots = occupancy.slots_plus(q.occupied_slots, s.slots)
    from (
      select c.scope, c.scope_id, sum(c.sessions)::bigint as sessions,
             occupancy.slots_sum(c.slots) as slots
      from (
        select p.user_id, p.project, p.domain, count(*) as sessions,
               occupancy.slots_sum(p.total_slots) as slots
        from placed p where not p.system
        group by p.user_id, p.project, p.domain
      ) as o
      cross join lateral (values
        ('user', o.user_id, o.sessions, o.slots), ('project', o.project, o.sessions, o.slots),
        ('resource_group', write_tick.resource_group, o.sessions, o.slots),
        ('domain', o.domain, o.sessions, o.slots)
      ) as c (scope, scope_id, sessions, slots)
      where c.scope_id is not null
      group by c.scope, c.scope_id
    ) as s
    where q.scope_id = s.scope_id and q.scope = s.scope
  ), slots_taken as (
    insert into occupancy.session_concurrency (access_key, session_id, system)
    select p.access_key, p.session_id, p.system from placed p
  ), noted as (
    insert into occupancy.session_history (session_id, changed_at, from_status, to_status, reason)
    select p.session_id, moment, 'PENDING', 'SCHEDULED', 'placed' from placed p
  ), dependencies_met as (
    delete from occupancy.session_dependency d
    where d.session_id = any (array(
      select p.session_id from placed p where p.dependencies <> '{}'))
  ), places_left as (
    delete from occupancy.queued_session q where q.session_id = any (placed_ids)
  )
  update occupancy.session s
  set status = 'RUNNING', stage = 'SCHEDULED', user_id = p.user_id, domain = p.domain
  from placed p
  where s.session_id = p.session_id and s.session_id = any (placed_ids);
  delete from occupancy.queued_kernel k where k.session_id = any (placed_ids);
end;
$$;

comment on function occupancy.write_tick(text, uuid[], jsonb[]) is
  'Internal. Writes what a tick decided to place; kernels: those of each session, with their '
  'agents, which are written already. All locks are held.';
revoke all on function occupancy.write_tick(text, uuid[], jsonb[]) from public;
