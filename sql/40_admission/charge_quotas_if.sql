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
  quota record;
  scopes text[];
  scope_ids text[];
  occupied jsonb[];
begin
  -- The most shared last, so that it is held for the shortest time.
  for quota in
    select q.*
    from (values
      (1, 'user', user_id), (2, 'project', project),
      (3, 'resource_group', resource_group), (4, 'domain', domain)
    ) as c (position, scope, scope_id)
    join occupancy.quota q on q.scope_id = c.scope_id and q.scope = c.scope
    order by c.position
    for no key update of q
  loop
    fits := fits
      and coalesce(quota.used < quota.max_concurrent_sessions, true)
      and occupancy.slots_fit(
        requested, quota.occupied_slots, quota.total_resource_slots,
        quota.default_for_unspecified);
    scopes := scopes || quota.scope;
    scope_ids := scope_ids || quota.scope_id;
    occupied := occupied || occupancy.slots_plus(quota.occupied_slots, requested);
  end loop;
  if fits then
    update occupancy.quota q
    set used = q.used + 1, occupied_slots = c.occupied
    from unnest(scopes, scope_ids, occupied) as c (scope, scope_id, occupied)
    where q.scope_id = c.scope_id and q.scope = c.scope;
  end if;
  return fits;
end;
$$;

comment on function occupancy.charge_quotas_if(boolean, text, text, text, text, jsonb) is
  'Internal. Locks the quotas of a session to be admitted and, if everything fits so far and in '
  'all of them, charges them. Returns whether it all fits.';
revoke all on function occupancy.charge_quotas_if(boolean, text, text, text, text, jsonb)
  from public;
