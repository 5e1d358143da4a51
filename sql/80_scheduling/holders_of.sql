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
      -- Agents are held by everybody, of any type and until each kernel ends.
      and (holders_of.scope in ('agent', 'agents')
           or s.status = 'RUNNING' and (s.session_type = 'system') = holders_of.system)
      and case holders_of.scope
            when 'agent' then k.agent_id = holders_of.scope_id
            when 'agents' then k.agent_id = any (array(
              select a.agent_id from occupancy.agent a
              where a.resource_group = holders_of.scope_id and a.status = 'ALIVE' and a.schedulable))
            when 'keypair' then s.access_key = holders_of.scope_id
            when 'user' then s.user_id = holders_of.scope_id
            when 'project' then s.project = holders_of.scope_id
            when 'resource_group' then s.resource_group = holders_of.scope_id
            when 'domain' then s.domain = holders_of.scope_id
          end
    group by s.session_id
    order by amount desc, s.created_at
    limit 10
  ) as h;
$$;

comment on function occupancy.holders_of(text, text, text, boolean) is
  'Internal. The ten sessions that hold most of what a key or a quota allows, of an agent, or of the '
  'agents of a group that may be given anything (agents).';
revoke all on function occupancy.holders_of(text, text, text, boolean) from public;
