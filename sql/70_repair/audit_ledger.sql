create or replace function occupancy.audit_ledger()
returns setof occupancy.finding
language sql stable
as $$
  select 'key_use', 'keypair ' || p.access_key,
         format('%s compute, %s system, %s', t.compute, t.system, t.slots),
         format('%s compute, %s system, %s', p.compute_used, p.system_used, p.occupied_slots),
         format('select * from occupancy.recalc_concurrency(%L)', p.access_key)
  from occupancy.keypair p
  join occupancy.key_use(array(select k.access_key from occupancy.keypair k)) as t
    on t.access_key = p.access_key
  where (p.compute_used, p.system_used, p.occupied_slots)
        is distinct from (t.compute, t.system, t.slots)
  union all
  select 'slot_of_session', 'session_concurrency ' || c.session_id,
         coalesce(case when s.status = 'RUNNING' then
           format('%s, %s', s.access_key,
                  case when s.session_type = 'system' then 'system' else 'compute' end)
         end, 'no row'),
         format('%s, %s', c.access_key, case when c.system then 'system' else 'compute' end),
         format('select * from occupancy.recalc_concurrency(%L)',
                case when s.status = 'RUNNING' then s.access_key else c.access_key end)
  from occupancy.session_concurrency c
  left join occupancy.session s on s.session_id = c.session_id
  where (s.status = 'RUNNING' and s.access_key = c.access_key
         and (s.session_type = 'system') = c.system) is not true
  union all
  select 'session_has_slot', 'session ' || s.session_id, 'a row in session_concurrency', 'no row',
         format('select * from occupancy.recalc_concurrency(%L)', s.access_key)
  from occupancy.session s
  where s.status = 'RUNNING'
    and not exists (
      select from occupancy.session_concurrency c where c.session_id = s.session_id)
  union all
  select 'session_has_key', 'session ' || s.session_id, 'keypair ' || s.access_key, 'no row',
         format('occupancy.put_keypair(%L, …, is_active => false), then '
                'select * from occupancy.recalc_concurrency(%1$L)', s.access_key)
  from occupancy.session s
  where s.ended_at is null
    and not exists (select from occupancy.keypair p where p.access_key = s.access_key)
  union all
  select 'session_has_kernel', 'session ' || s.session_id, 'a live kernel', 'none',
         format('select * from occupancy.release_session(%L)', s.session_id)
  from occupancy.session s
  where s.ended_at is null and s.status <> 'PENDING'
    and not exists (
      select from occupancy.kernel k where k.session_id = s.session_id and k.ended_at is null)
  union all
  select 'kernel_has_session', 'kernel ' || k.kernel_id, 'a live session',
         coalesce(s.status, 'no row'),
         format('select * from occupancy.recalc_agent(%L)', k.agent_id)
  from occupancy.kernel k
  left join occupancy.session s on s.session_id = k.session_id
  where k.ended_at is null and (s.ended_at is null and s.status <> 'PENDING') is not true
  union all
  select 'kernel_has_agent', 'kernel ' || k.kernel_id, 'agent ' || k.agent_id, 'no row',
         format('occupancy.put_agent(%L, …, schedulable => false), then '
                'select * from occupancy.recalc_agent(%1$L)', k.agent_id)
  from occupancy.kernel k
  where k.ended_at is null
    and not exists (select from occupancy.agent a where a.agent_id = k.agent_id)
  union all
  select 'lease_has_manager', 'session ' || s.session_id, 'manager of epoch ' || s.holder_epoch,
         'no row',
         format('select * from occupancy.release_session(%L)', s.session_id)
  from occupancy.session s
  where s.holder_epoch is not null and s.ended_at is null
    and not exists (select from occupancy.manager m where m.epoch = s.holder_epoch)
  union all
  select 'agent_use', 'agent ' || a.agent_id, t.slots::text, a.occupied_slots::text,
         format('select * from occupancy.recalc_agent(%L)', a.agent_id)
  from occupancy.agent a
  cross join lateral occupancy.agent_use(a.agent_id) as t (slots)
  where a.occupied_slots <> t.slots
  union all
  select 'quota_use', format('%s quota %s', q.scope, q.scope_id),
         format('%s sessions, %s', t.sessions, t.slots),
         format('%s sessions, %s', q.used, q.occupied_slots),
         format('select * from occupancy.recalc_quota(%L, %L)', q.scope, q.scope_id)
  from occupancy.quota q
  cross join lateral occupancy.quota_use(q.scope, q.scope_id) as t
  where (q.used, q.occupied_slots) is distinct from (t.sessions, t.slots);
$$;

comment on function occupancy.audit_ledger() is
  'Internal. The part of the audit that proves keys, quotas, agents and kernels.';
revoke all on function occupancy.audit_ledger() from public;
