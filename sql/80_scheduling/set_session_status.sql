create or replace function occupancy.set_session_status(
  session_id uuid,
  status text,
  reason text default null
)
returns occupancy.transition
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean :=
    occupancy.check_id(session_id, 'session_id')
    and occupancy.check_word(status, array[
      'PENDING', 'SCHEDULED', 'PREPARING', 'PULLING', 'PREPARED', 'CREATING', 'RUNNING',
      'TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR'], 'status')
    and (reason is null or occupancy.check_name(reason, 'reason'));
  fresh constant boolean := occupancy.enter_ledger();
  held occupancy.session;
  present text;
begin
  select s.* into held from occupancy.session s
  where s.session_id = set_session_status.session_id for no key update;
  if not found then
    raise exception 'unknown session'
      using errcode = 'OC004', detail = session_id::text,
            hint = 'pass a session that lives or is remembered';
  end if;
  present := occupancy.session_status(held.status, held.stage);
  if present = status then
    return row(session_id, 'unchanged', present, status)::occupancy.transition;
  end if;
  -- Only a tick places.
  if not occupancy.may_become(present, status) or status = 'SCHEDULED' then
    raise exception 'a session that is % cannot become %', lower(present), lower(status)
      using errcode = 'OC007', detail = format('from %s to %s', present, status),
            hint = case when present = 'PENDING' then 'let occupancy.schedule_sessions place it'
                        else 'see occupancy.get_session for its present status' end;
  end if;
  if status = 'TERMINATING' then
    perform occupancy.terminate_session(session_id);
  elsif status in ('TERMINATED', 'CANCELLED') then
    perform occupancy.release_session(session_id);
  else
    update occupancy.session s set stage = set_session_status.status
    where s.session_id = set_session_status.session_id;
    insert into occupancy.session_history (session_id, changed_at, from_status, to_status, reason)
    values (set_session_status.session_id, occupancy.clock(), present, status, reason);
    return row(session_id, 'changed', present, status)::occupancy.transition;
  end if;
  update occupancy.session_history h
  set reason = coalesce(set_session_status.reason, h.reason)
  where h.session_id = set_session_status.session_id and h.to_status = status;
  return row(session_id, 'changed', present, status)::occupancy.transition;
end;
$$;

comment on function occupancy.set_session_status(uuid, text, text) is
  'Moves a session along its life, and notes when and why: PENDING, SCHEDULED (by a tick only), '
  'PREPARING, PULLING, PREPARED, CREATING, RUNNING, TERMINATING, TERMINATED; CANCELLED from '
  'PENDING; ERROR, which keeps all that the session holds until it is released. TERMINATING and '
  'the final states do what terminate_session and release_session do. outcome: changed or '
  'unchanged. OC004, OC005, OC007 with both states in its detail.';
revoke all on function occupancy.set_session_status(uuid, text, text) from public;
grant execute on function occupancy.set_session_status(uuid, text, text) to occupancy_manager;
