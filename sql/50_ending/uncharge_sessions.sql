create or replace function occupancy.uncharge_sessions(session_ids uuid[])
returns void
language plpgsql volatile
as $$
begin
  update occupancy.keypair p
  set compute_used = occupancy.count_minus(
        p.compute_used, f.compute, 'keypair ' || p.access_key),
      system_used = occupancy.count_minus(
        p.system_used, f.system, 'keypair ' || p.access_key),
      occupied_slots = occupancy.slots_minus(p.occupied_slots, f.slots, 'keypair ' || p.access_key)
  from (
    select e.access_key, count(*) filter (where not e.system) as compute,
           count(*) filter (where e.system) as system,
           occupancy.slots_sum(e.slots) filter (where not e.system) as slots
    from occupancy.charges_of(session_ids) as e
    group by e.access_key
  ) as f
  where p.access_key = f.access_key;

  update occupancy.quota q
  set used = occupancy.count_minus(
        q.used, f.sessions, q.scope || ' quota ' || q.scope_id),
      occupied_slots = occupancy.slots_minus(
        q.occupied_slots, f.slots, q.scope || ' quota ' || q.scope_id)
  from (
    select scopes.scope, scopes.scope_id, count(*) as sessions,
           occupancy.slots_sum(e.slots) as slots
    from occupancy.charges_of(session_ids) as e
    cross join lateral (values
      ('user', e.user_id), ('project', e.project),
      ('resource_group', e.resource_group), ('domain', e.domain)
    ) as scopes (scope, scope_id)
    where not e.system and scopes.scope_id is not null
    group by scopes.scope, scopes.scope_id
  ) as f
  where q.scope = f.scope and q.scope_id = f.scope_id;
end;
$$;

comment on function occupancy.uncharge_sessions(uuid[]) is
  'Internal. Takes sessions off their keys and quotas; the caller holds all locks.';
revoke all on function occupancy.uncharge_sessions(uuid[]) from public;
