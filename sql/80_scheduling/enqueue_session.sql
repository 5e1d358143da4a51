create or replace function occupancy.enqueue_session(
  session_id uuid,
  access_key text,
  kernels jsonb,
  session_type text default 'interactive',
  project text default null,
  resource_group text default 'default',
  priority integer default 10,
  starts_at timestamptz default null,
  dependencies uuid[] default '{}',
  cluster_mode text default 'single-node'
)
returns occupancy.enqueuing
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean :=
    occupancy.check_reservation(session_id, access_key, session_type, project)
    and occupancy.check_queued(
      session_id, resource_group, session_type, priority, starts_at, dependencies, cluster_mode);
  parsed constant occupancy.queued_kernels :=
    occupancy.parse_queued_kernels(kernels, cluster_mode);
  fresh constant boolean := occupancy.enter_ledger();
  moment constant timestamptz := occupancy.clock();
  wanted occupancy.queued_session;
  owner record;
  violated jsonb;
begin
  wanted.resource_group := resource_group;
  wanted.priority := priority;
  wanted.starts_at := starts_at;
  wanted.cluster_mode := cluster_mode;
  wanted.kernels := parsed.kernels;
  wanted.dependencies := array(select distinct d.id from unnest(dependencies) as d (id) order by 1);
  perform occupancy.refuse_circle(session_id, wanted.dependencies);

  -- Claim the id, then hold the key, as a reservation does.
  insert into occupancy.session (
    session_id, status, stage, access_key, session_type, project, resource_group, created_at)
  values (
    enqueue_session.session_id, 'PENDING', 'PENDING', enqueue_session.access_key,
    enqueue_session.session_type, enqueue_session.project, enqueue_session.resource_group, moment)
  on conflict do nothing;
  if not found then
    return occupancy.repeated_enqueue(session_id, access_key, session_type, project, wanted);
  end if;
  -- Only now: who repeats a call may name what was forgotten since.
  perform occupancy.hold_dependencies(session_id, wanted.dependencies);
  select k.user_id, k.domain into owner
  from occupancy.keypair k where k.access_key = enqueue_session.access_key
  for no key update;
  if not found then
    perform occupancy.refuse_key(access_key);
  end if;
  perform occupancy.check_designated(parsed.kernels, resource_group);
  insert into occupancy.key_queue (access_key, sessions, slots)
  values (enqueue_session.access_key, 0, '{}')
  on conflict do nothing;
  perform from occupancy.key_queue q
  where q.access_key = enqueue_session.access_key for no key update;

  violated := occupancy.pending_violations(
    access_key, session_type, jsonb_array_length(parsed.kernels), parsed.total);
  if violated is not null then
    perform occupancy.withdraw(session_id);
    return row(
      session_id, 'rejected', violated -> 0 ->> 'code', violated -> 0 ->> 'message', violated
    )::occupancy.enqueuing;
  end if;
  update occupancy.session s set user_id = owner.user_id, domain = owner.domain
  where s.session_id = enqueue_session.session_id;
  insert into occupancy.queued_session (
    session_id, access_key, resource_group, priority, enqueued_at, starts_at, cluster_mode,
    kernels, total_slots, agent_id, dependencies)
  values (
    enqueue_session.session_id, enqueue_session.access_key, enqueue_session.resource_group,
    enqueue_session.priority, moment, enqueue_session.starts_at, enqueue_session.cluster_mode,
    parsed.kernels, parsed.total,
    case cluster_mode when 'single-node' then parsed.designated end, wanted.dependencies);
  perform occupancy.claim_kernels(session_id, parsed.kernels);
  insert into occupancy.session_dependency (session_id, depends_on)
  select enqueue_session.session_id, d.id from unnest(wanted.dependencies) as d (id);
  insert into occupancy.session_history (session_id, changed_at, to_status, reason)
  values (enqueue_session.session_id, moment, 'PENDING', 'enqueued');
  if session_type <> 'system' then
    update occupancy.key_queue q
    set sessions = q.sessions + 1, slots = occupancy.slots_plus(q.slots, parsed.total)
    where q.access_key = enqueue_session.access_key;
  end if;
  return row(session_id, 'enqueued', null, null, null)::occupancy.enqueuing;
end;
$$;

comment on function occupancy.enqueue_session(
  uuid, text, jsonb, text, text, text, integer, timestamptz, uuid[], text
) is
  'Lets a session wait (PENDING) until schedule_sessions places it. kernels: [{"slots": {"cpu": '
  '4}, "agent": "i-01" (optional: that one or none), "kernel_id": uuid (optional)}, …]. '
  'cluster_mode: single-node (all kernels on one agent) or multi-node. priority 0 to 100, the '
  'higher the sooner. starts_at: not before, for batch sessions. dependencies: sessions that must '
  'end with success first. outcome: enqueued; already_enqueued (the same call again); rejected, '
  'with the code and all violations. Repeating a call is safe. OC001, OC002, OC003, OC004, OC005, OC006.';
revoke all on function occupancy.enqueue_session(
  uuid, text, jsonb, text, text, text, integer, timestamptz, uuid[], text
) from public;
grant execute on function occupancy.enqueue_session(
  uuid, text, jsonb, text, text, text, integer, timestamptz, uuid[], text
) to occupancy_manager;
