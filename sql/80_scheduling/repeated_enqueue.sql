create or replace function occupancy.repeated_enqueue(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  wanted occupancy.queued_session
)
returns occupancy.enqueuing
language plpgsql volatile
as $$
declare
  stored occupancy.session;
  waiting occupancy.queued_session;
  same boolean;
begin
  -- Held, so that its row and its place in the queue belong together.
  select s.* into stored from occupancy.session s
  where s.session_id = repeated_enqueue.session_id for share;
  if stored.session_id is null or stored.status not in ('PENDING', 'RUNNING') then
    return row(
      session_id, 'rejected', 'session_ended', format('session %s has ended', session_id),
      jsonb_build_array(occupancy.queue_violation(
        'session_ended', 'session', session_id::text, null, null, null, null,
        format('session %s has ended', session_id))))::occupancy.enqueuing;
  end if;
  select q.* into waiting from occupancy.queued_session q
  where q.session_id = repeated_enqueue.session_id;
  if found then
    same := (waiting.priority, waiting.starts_at, waiting.cluster_mode, waiting.dependencies)
      is not distinct from
      (wanted.priority, wanted.starts_at, wanted.cluster_mode, wanted.dependencies)
      and occupancy.same_queued_kernels(waiting.kernels, wanted.kernels);
  else
    -- Placed: its place in the queue is forgotten, its kernels are not.
    same := stored.stage is not null and coalesce(occupancy.same_queued_kernels((
      select jsonb_agg(jsonb_build_object(
        'kernel_id', k.kernel_id, 'generated', k.id_generated, 'agent', k.agent_id,
        'slots', k.requested_slots) order by k.position)
      from occupancy.kernel k
      where k.session_id = repeated_enqueue.session_id
    ), wanted.kernels, placed => true), false);
  end if;
  if not same
     or (stored.access_key, stored.session_type, stored.resource_group)
        is distinct from (access_key, session_type, wanted.resource_group)
     or stored.project is distinct from project
  then
    raise exception 'the session id lives with another content'
      using errcode = 'OC006', detail = session_id::text,
            hint = 'use a new id, or repeat the first call unchanged';
  end if;
  return row(session_id, 'already_enqueued', null, null, null)::occupancy.enqueuing;
end;
$$;

comment on function occupancy.repeated_enqueue(
  uuid, text, text, text, occupancy.queued_session
) is
  'Internal. Answers a session that wants to wait under an id that is taken: already_enqueued if '
  'it was first wanted with the same content, rejected if it ended, OC006 otherwise.';
revoke all on function occupancy.repeated_enqueue(
  uuid, text, text, text, occupancy.queued_session
) from public;
