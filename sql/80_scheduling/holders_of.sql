create or replace function occupancy.holders_of(
  scope text,
  scope_id text,
  slot text,
  system boolean
)
returns jsonb
language sql stable
as $$
  select jsonb_agg(jsonb_build_object(
    'session_id', h.session_id, 'access_key', h.access_key, 'status', h.status,
    'slots', h.slots, 'since', h.created_at) order by h.amount desc, h.created_at)
  from (
    select s.session_id, s.access_key, occupancy.session_status(s.status, s.stage) as status,
           s.created_at, occupancy.slots_sum(coalesce(k.settled_slots, k.requested_slots)) as slots,
           coalesce(sum((coalesce(k.settled_slots, k.requested_slots)
             ->> holders_of.slot)::numeric), 0) as amount
    from occupancy.session s
    join occupancy.kernel k on k.session_id = s.session_id and k.ended_at is null
    where s.ended_at is null
      and case when holders_of.scope = 'agent' then k.agent_id = holders_of.scope_id
               else s.status = 'RUNNING' and (s.session_type = 'system') = holders_of.system end
      and case holders_of.scope
            when 'keypair' then s.access_key = holders_of.scope_id
            when 'user' then s.user_id = holders_of.scope_id
            when 'project' then s.project = holders_of.scope_id
            when 'resource_group' then s.resource_group = holders_of.scope_id
            when 'domain' then s.domain = holders_of.scope_id
            else holders_of.scope = 'agent'
          end
    group by s.session_id
    order by amount desc, s.created_at
    limit 10
  ) as h;
$$;

comment on function occupancy.holders_of(text, text, text, boolean) is
  'Internal. The ten sessions that hold most of a key, a quota, a group or an agent.';
revoke all on function occupancy.holders_of(text, text, text, boolean) from public;
