create or replace function occupancy.quota_use(
  scope text,
  scope_id text,
  out sessions bigint,
  out slots jsonb
)
language sql stable
as $$
  select count(distinct s.session_id),
         coalesce(occupancy.slots_sum(coalesce(k.settled_slots, k.requested_slots)), '{}')
  from occupancy.session s
  left join occupancy.kernel k on k.session_id = s.session_id and k.ended_at is null
  where s.ended_at is null and s.status = 'RUNNING' and s.session_type <> 'system'
    and quota_use.scope_id = case quota_use.scope
          when 'user' then s.user_id
          when 'project' then s.project
          when 'resource_group' then s.resource_group
          when 'domain' then s.domain
        end;
$$;

comment on function occupancy.quota_use(text, text) is
  'Internal. What a quota''s use must be: the active compute sessions charged to it and the slots '
  'of their live kernels.';
revoke all on function occupancy.quota_use(text, text) from public;
