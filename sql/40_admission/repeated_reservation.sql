create or replace function occupancy.repeated_reservation(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  fresh boolean
)
returns occupancy.admission
language plpgsql volatile
as $$
declare
  stored occupancy.session;
  key record;
begin
  if fresh then
    -- What is read here may be committed and not yet at the standby: the caller who waited for that
    -- lost his connection. Only who has written waits for the standby, and a lock is written.
    perform from occupancy.session s
    where s.session_id = repeated_reservation.session_id for key share;
  else
    -- An old snapshot may show a session that ended since: locking it then fails with 40001.
    perform from occupancy.session s
    where s.session_id = repeated_reservation.session_id for share;
  end if;
  select s.* into stored from occupancy.session s
  where s.session_id = repeated_reservation.session_id;
  select k.* into key from occupancy.read_key(access_key, session_type = 'system') as k;
  if stored.status = 'PENDING' then
    raise exception 'the session waits in the queue'
      using errcode = 'OC006', detail = session_id::text,
            hint = 'use a new id, or wait until it is placed';
  end if;
  -- None any more: it was pruned, so it had ended.
  if stored.session_id is null or stored.status <> 'RUNNING' then
    return occupancy.ended_rejection(session_id, access_key, key.used, key.max);
  end if;
  if (stored.access_key, stored.session_type) is distinct from (access_key, session_type)
     or stored.project is distinct from project
     or not occupancy.same_kernels(session_id, placed)
  then
    raise exception 'the session id lives with another content'
      using errcode = 'OC006', detail = session_id::text,
            hint = 'use a new id, or repeat the first call unchanged';
  end if;
  return row(
    session_id, 'already_admitted', null, null, access_key,
    key.used, key.max,
    null, occupancy.stored_kernels(session_id)
  )::occupancy.admission;
end;
$$;

comment on function occupancy.repeated_reservation(
  uuid, text, text, text, occupancy.placement, boolean
) is
  'Internal. The answer to a reservation whose id is taken: already_admitted, rejected with '
  'session_ended, or OC006.';
revoke all on function occupancy.repeated_reservation(
  uuid, text, text, text, occupancy.placement, boolean
) from public;
