create or replace function occupancy.quotas_ahead(
  user_id text,
  project text,
  resource_group text,
  domain text,
  requested jsonb
)
-- A set, so that callers' plans take it in instead of planning it at every call.
returns setof occupancy.seen_quota
language sql stable
as $$
  select q.scope, q.scope_id, q.xmin,
         case when coalesce(q.used < q.max_concurrent_sessions, true)
              then occupancy.slots_charged(
                q.occupied_slots, requested, q.total_resource_slots, q.default_for_unspecified) end
  from occupancy.quota q
  where q.scope_id = any (array[user_id, project, resource_group, domain])
    and q.scope_id = case q.scope
          when 'user' then user_id
          when 'project' then project
          when 'resource_group' then resource_group
          else domain
        end
  -- As they are locked: the most shared last, so that it is held for the shortest time.
  order by array_position(array['user', 'project', 'resource_group', 'domain'], q.scope);
$$;

comment on function occupancy.quotas_ahead(text, text, text, text, jsonb) is
  'Internal. The quotas that a compute session is charged to. Nobody can create one before this '
  'transaction ends (see enter_ledger).';
revoke all on function occupancy.quotas_ahead(text, text, text, text, jsonb) from public;
