create or replace function occupancy.admit(
  claim occupancy.session,
  placed occupancy.placement,
  context occupancy.reservation_context
)
returns occupancy.admission
language plpgsql volatile
as $$
declare
  system constant boolean := claim.session_type = 'system';
  held record;
  agents_held integer := 0;
  agents_occupied jsonb[];
  charged record;
  scopes text[];
  scope_ids text[];
  quotas_occupied jsonb[];
  key_occupied jsonb;
  fits boolean := true;
  violated jsonb;
  written bigint;
begin
  -- Lock order: the key, then the agents by id.
  for held in
    select k.user_id, k.domain, k.resource_policy, k.is_active, k.compute_used, k.system_used,
           k.occupied_slots as key_occupied, a.resource_group, a.occupied_slots,
           a.status = 'ALIVE' and a.schedulable as available, a.available_slots
    from occupancy.keypair k, occupancy.agent a
    where k.access_key = claim.access_key and a.agent_id = any (placed.agent_ids)
    order by a.agent_id
    for no key update of k, a
  loop
    agents_held := agents_held + 1;
    if (held.user_id, held.domain, held.resource_policy, held.resource_group)
       is distinct from
       (claim.user_id, claim.domain, (context.limits).name, claim.resource_group)
    then
      return occupancy.withdraw(claim);
    end if;
    fits := fits and held.available and occupancy.slots_fit(
      placed.agent_slots[agents_held], held.occupied_slots, held.available_slots, 'LIMITED');
    agents_occupied[agents_held] :=
      occupancy.slots_plus(held.occupied_slots, placed.agent_slots[agents_held]);
    key_occupied := held.key_occupied;
    context.is_active := held.is_active;
    context.compute_used := held.compute_used;
    context.system_used := held.system_used;
  end loop;
  if agents_held < cardinality(placed.agent_ids) then
    return occupancy.withdraw(claim);
  end if;
  fits := fits and occupancy.key_admits(
    claim.session_type, cardinality(placed.kernel_ids), context);

  if not system then
    fits := fits and occupancy.slots_fit(
      placed.total, key_occupied, (context.limits).total_resource_slots,
      (context.limits).default_for_unspecified);
    key_occupied := occupancy.slots_plus(key_occupied, placed.total);
    if context.quotas_exist then
      -- Then the quotas, the most shared last.
      for charged in
        select q.*
        from (values
          (1, 'user', claim.user_id), (2, 'project', claim.project),
          (3, 'resource_group', claim.resource_group), (4, 'domain', claim.domain)
        ) as c (position, scope, scope_id)
        join occupancy.quota q on q.scope = c.scope and q.scope_id = c.scope_id
        order by c.position
        for no key update of q
      loop
        fits := fits
          and coalesce(charged.used < charged.max_concurrent_sessions, true)
          and occupancy.slots_fit(
            placed.total, charged.occupied_slots, charged.total_resource_slots,
            charged.default_for_unspecified);
        scopes := scopes || charged.scope;
        scope_ids := scope_ids || charged.scope_id;
        quotas_occupied := quotas_occupied || occupancy.slots_plus(
          charged.occupied_slots, placed.total);
      end loop;
    end if;
  end if;

  if not fits then
    -- Everything that decides is locked now, but for the policy: should its limits have been
    -- raised since, there is nothing left to object to.
    violated := occupancy.violations(claim.access_key, claim.session_type, claim.project, placed);
    if violated is not null then
      delete from occupancy.session s where s.session_id = claim.session_id;
      return occupancy.rejection(claim, context, violated);
    end if;
  end if;

  if scopes is not null then
    update occupancy.quota q
    set used = q.used + 1, occupied_slots = c.occupied
    from unnest(scopes, scope_ids, quotas_occupied) as c (scope, scope_id, occupied)
    where q.scope = c.scope and q.scope_id = c.scope_id;
  end if;
  with slot_taken as (
    insert into occupancy.session_concurrency (access_key, session_id, system)
    values (claim.access_key, claim.session_id, system)
  ), key_charged as (
    update occupancy.keypair k
    set compute_used = k.compute_used + (not system)::integer,
        system_used = k.system_used + system::integer,
        occupied_slots = key_occupied
    where k.access_key = claim.access_key
  ), agents_charged as (
    update occupancy.agent a
    set occupied_slots = c.occupied
    from unnest(placed.agent_ids, agents_occupied) as c (agent_id, occupied)
    where a.agent_id = c.agent_id
  )
  insert into occupancy.kernel (
    kernel_id, session_id, position, id_generated, agent_id, requested_slots)
  select n.kernel_id, claim.session_id, n.position::integer, n.id_generated, n.agent, n.slots
  from unnest(placed.kernel_ids, placed.id_generated, placed.agents, placed.slots)
       with ordinality as n (kernel_id, id_generated, agent, slots, position)
  order by n.kernel_id
  on conflict do nothing;
  get diagnostics written = row_count;
  if written < cardinality(placed.kernel_ids) then
    raise exception 'a kernel id belongs to another session'
      using errcode = 'OC006', detail = claim.session_id::text,
            hint = 'give every kernel an id of its own';
  end if;

  return row(
    claim.session_id, 'admitted', null, null, claim.access_key,
    case when system then context.system_used else context.compute_used end + 1,
    case when system then (context.limits).max_concurrent_system_sessions
         else (context.limits).max_concurrent_sessions end,
    null, occupancy.placed_kernels(placed)
  )::occupancy.admission;
end;
$$;

comment on function occupancy.admit(
  occupancy.session, occupancy.placement, occupancy.reservation_context
) is
  'Internal. Decides a reservation whose id is claimed: locks, compares, and writes all of it or '
  'withdraws the claim. NULL: the key or an agent changed since the context was read. OC006: '
  'a kernel id of another session.';
revoke all on function occupancy.admit(
  occupancy.session, occupancy.placement, occupancy.reservation_context
) from public;
