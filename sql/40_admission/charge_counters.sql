create or replace function occupancy.charge_counters(counters occupancy.counter[])
returns void
language plpgsql volatile
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
begin
  update occupancy.keypair k
  set compute_used = k.compute_used + c.compute,
      system_used = k.system_used + c.system,
      occupied_slots = k.occupied_slots - c.emptied || c.occupied
  from (
    select t.id, coalesce(sum(t.asked) filter (where t.kind = 'keypair' and t.slot is null), 0)::bigint
             as compute,
           coalesce(sum(t.asked) filter (where t.kind = 'system'), 0)::bigint as system,
           coalesce(array_agg(t.slot) filter (where t.used + t.asked = 0 and t.slot is not null), '{}')
             as emptied,
           coalesce(jsonb_object_agg(t.slot, trim_scale(t.used + t.asked)::text)
                    filter (where t.used + t.asked > 0 and t.slot is not null), '{}') as occupied
    from unnest(counters) as t
    where t.kind in ('keypair', 'system')
    group by t.id
  ) as c
  where k.access_key = c.id
    and k.access_key = any (array(
      select t.id from unnest(counters) as t where t.kind in ('keypair', 'system')));
  update occupancy.agent a
  set occupied_slots = a.occupied_slots - c.emptied || c.occupied
  from (
    select t.id, coalesce(array_agg(t.slot) filter (where t.used + t.asked = 0), '{}') as emptied,
           coalesce(jsonb_object_agg(t.slot, trim_scale(t.used + t.asked)::text)
                    filter (where t.used + t.asked > 0), '{}') as occupied
    from unnest(counters) as t
    where t.kind = 'agent'
    group by t.id
  ) as c
  where a.agent_id = c.id
    and a.agent_id = any (array(select t.id from unnest(counters) as t where t.kind = 'agent'));
  update occupancy.quota q
  set used = q.used + c.sessions,
      occupied_slots = q.occupied_slots - c.emptied || c.occupied
  from (
    select t.kind, t.id, sum(t.asked) filter (where t.slot is null)::bigint as sessions,
           coalesce(array_agg(t.slot) filter (where t.used + t.asked = 0 and t.slot is not null), '{}')
             as emptied,
           coalesce(jsonb_object_agg(t.slot, trim_scale(t.used + t.asked)::text)
                    filter (where t.used + t.asked > 0 and t.slot is not null), '{}') as occupied
    from unnest(counters) as t
    where t.kind in ('user', 'project', 'resource_group', 'domain')
    group by t.kind, t.id
  ) as c
  where q.scope_id = c.id and q.scope = c.kind
    and q.scope_id = any (array(select t.id from unnest(counters) as t));
end;
$$;

comment on function occupancy.charge_counters(occupancy.counter[]) is
  'Internal. Adds to every counter what is asked of it, the most shared last. All are locked, and '
  'used is what they hold now.';
revoke all on function occupancy.charge_counters(occupancy.counter[]) from public;
