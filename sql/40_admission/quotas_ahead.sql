create or replace function occupancy.quotas_ahead(
  session_type text,
  user_id text,
  project text,
  resource_group text,
  domain text,
  requested jsonb
)
returns setof occupancy.quota_outlook
language sql stable
as $$
  select count(*) > 0,
         coalesce(bool_and(
           coalesce(q.used < q.max_concurrent_sessions, true) and occupancy.slots_fit(
             requested, q.occupied_slots, q.total_resource_slots, q.default_for_unspecified)),
           true)
  from occupancy.quota q
  where session_type <> 'system'
    and q.scope_id = any (array[user_id, project, resource_group, domain])
    and q.scope_id = case q.scope
          when 'user' then user_id
          when 'project' then project
          when 'resource_group' then resource_group
          else domain
        end;
$$;

comment on function occupancy.quotas_ahead(text, text, text, text, text, jsonb) is
  'Internal. Whether quotas apply to a session, and whether it fits in all of them now. Nobody can '
  'create one before this transaction ends (see enter_ledger).';
revoke all on function occupancy.quotas_ahead(text, text, text, text, text, jsonb) from public;
