create or replace function occupancy.charge_quotas_if(
  fits boolean,
  user_id text,
  project text,
  resource_group text,
  domain text,
  requested jsonb
)
returns boolean
language plpgsql volatile
as $$
declare
  scopes constant text[] := array['user', 'project', 'resource_group', 'domain'];
  scope_ids constant text[] := array[user_id, project, resource_group, domain];
  quota record;
begin
  -- The most shared last, so that it is held for the shortest time; a row at a time (see
  -- CONTRIBUTING on locks).
  for i in 1 .. 4 loop
    select q.used < q.max_concurrent_sessions as free, q.occupied_slots, q.total_resource_slots,
           q.default_for_unspecified
    into quota
    from occupancy.quota q
    where q.scope_id = scope_ids[i] and q.scope = scopes[i]
    for no key update;
    if found then
      fits := fits and coalesce(quota.free, true) and occupancy.slots_fit(
        requested, quota.occupied_slots, quota.total_resource_slots,
        quota.default_for_unspecified);
    end if;
  end loop;
  if fits then
    update occupancy.quota q
    set used = q.used + 1, occupied_slots = occupancy.slots_plus(q.occupied_slots, requested)
    where q.scope_id = any (scope_ids)
      and q.scope_id = scope_ids[array_position(scopes, q.scope::text)];
  end if;
  return fits;
end;
$$;

comment on function occupancy.charge_quotas_if(boolean, text, text, text, text, jsonb) is
  'Internal. Locks the quotas of a session to be admitted and, if everything fits so far and in '
  'all of them, charges them. Returns whether it all fits.';
revoke all on function occupancy.charge_quotas_if(boolean, text, text, text, text, jsonb)
  from public;
