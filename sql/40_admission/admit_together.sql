create or replace function occupancy.admit_together(
  requests occupancy.request[],
  positions bigint[],
  demands occupancy.demand[]
)
returns void
language plpgsql volatile
as $$
declare
  wanted bigint;
  written bigint;
begin
  with sums as (
    select d.kind, d.id, coalesce(max(d.amount) filter (where d.slot is null), 0)::bigint as sessions,
           coalesce(jsonb_object_agg(d.slot, d.amount::text) filter (where d.slot is not null), '{}')
             as slots
    from unnest(demands) as d
    group by d.kind, d.id
  ), agents_charged as (
    update occupancy.agent a
    set occupied_slots = occupancy.slots_plus(a.occupied_slots, s.slots)
    from sums s where s.kind = 'agent' and a.agent_id = s.id
  ), quotas_charged as (
    update occupancy.quota q
    set used = q.used + s.sessions,
        occupied_slots = occupancy.slots_plus(q.occupied_slots, s.slots)
    from sums s where q.scope = s.kind and q.scope_id = s.id
  )
  update occupancy.keypair k
  set compute_used = k.compute_used + s.compute,
      system_used = k.system_used + s.system,
      occupied_slots = occupancy.slots_plus(k.occupied_slots, s.slots)
  from (
    select c.id, coalesce(max(c.sessions) filter (where c.kind = 'keypair'), 0) as compute,
           coalesce(max(c.sessions) filter (where c.kind = 'system'), 0) as system,
           coalesce(jsonb_agg(c.slots) filter (where c.kind = 'keypair') -> 0, '{}') as slots
    from sums c
    where c.kind in ('keypair', 'system')
    group by c.id
  ) as s
  where k.access_key = s.id;

  insert into occupancy.session_concurrency (access_key, session_id, system)
  select r.access_key, r.session_id, r.session_type = 'system'
  from unnest(requests) with ordinality as r (
    session_id, access_key, session_type, project, placed, refusal, position)
  where r.position = any (positions);

  insert into occupancy.kernel (
    kernel_id, session_id, position, id_generated, agent_id, requested_slots)
  select n.kernel_id, r.session_id, n.position::integer, n.id_generated, n.agent, n.slots
  from unnest(requests) with ordinality as r (
         session_id, access_key, session_type, project, placed, refusal, position)
  cross join lateral unnest(
    (r.placed).kernel_ids, (r.placed).id_generated, (r.placed).agents, (r.placed).slots
  ) with ordinality as n (kernel_id, id_generated, agent, slots, position)
  where r.position = any (positions)
  order by n.kernel_id
  on conflict do nothing;
  get diagnostics written = row_count;
  select sum(cardinality((r.placed).kernel_ids)) into wanted
  from unnest(requests) with ordinality as r (
    session_id, access_key, session_type, project, placed, refusal, position)
  where r.position = any (positions);
  if written < wanted then
    -- Somebody has committed one of these ids since they were compared.
    raise exception 'a kernel id belongs to another session' using errcode = 'OC006';
  end if;
end;
$$;

comment on function occupancy.admit_together(
  occupancy.request[], bigint[], occupancy.demand[]
) is
  'Internal. Writes the requests at the positions, whose ids are claimed and whose demands fit. '
  'OC006 if somebody has taken a kernel id meanwhile.';
revoke all on function occupancy.admit_together(
  occupancy.request[], bigint[], occupancy.demand[]
) from public;
