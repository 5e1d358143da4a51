create or replace function occupancy.confirm_session(
  session_id uuid,
  manager text,
  epoch bigint
)
returns occupancy.session_outcome
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
-- Every row is found by an index. A table that was small when a plan was made may be bloated by
-- the time that it is used.
set enable_seqscan = off
as $$
declare
  checked constant boolean := occupancy.check_id(session_id, 'session_id');
  holder constant boolean := occupancy.require_holder(manager, epoch, session_id);
  held occupancy.session;
begin
  select s.* into held from occupancy.session s
  where s.session_id = confirm_session.session_id for no key update;
  if not found then
    return row(session_id, 'unknown')::occupancy.session_outcome;
  elsif held.reclaimed_at is not null then
    raise exception 'the session was reclaimed'
      using errcode = 'OC009', detail = occupancy.holder_of(session_id),
            hint = 'stop it; reserve another one';
  elsif held.ended_at is not null then
    return row(session_id, 'already_released')::occupancy.session_outcome;
  elsif held.status = 'TERMINATING' then
    return row(session_id, 'already_terminating')::occupancy.session_outcome;
  elsif held.holder_epoch is null then
    return row(session_id, 'already_confirmed')::occupancy.session_outcome;
  end if;
  perform occupancy.require_lease(held, manager, epoch);
  update occupancy.session s set holder_epoch = null, confirmed_at = occupancy.clock()
  where s.session_id = held.session_id;
  return row(session_id, 'confirmed')::occupancy.session_outcome;
end;
$$;

comment on function occupancy.confirm_session(uuid, text, bigint) is
  'A session runs: its manager''s life no longer matters. outcome: confirmed; already_confirmed, '
  'also where it was reserved without a manager; already_terminating, already_released or unknown: '
  'do not run it. Repeating a call is safe. OC005, OC009 (a newer start has the manager''s name, '
  'the session was reclaimed, or another manager holds it; nothing changes).';
revoke all on function occupancy.confirm_session(uuid, text, bigint) from public;
grant execute on function occupancy.confirm_session(uuid, text, bigint) to occupancy_manager;
