create or replace function occupancy.leave_queue()
returns trigger
language plpgsql volatile
-- A trigger fires for whoever changes the table, also by hand.
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  waited occupancy.queued_session;
begin
  if old.status = 'PENDING' then
    -- Whoever ends a session writes TERMINATED; one that never had anything is cancelled.
    new.status := 'CANCELLED';
    new.ended_at := coalesce(new.ended_at, occupancy.clock());
    -- Who ends a single session that runs nothing has no reason to hold its key; we have one.
    perform from occupancy.keypair k where k.access_key = old.access_key for no key update;
    delete from occupancy.queued_session q where q.session_id = old.session_id
    returning q.* into waited;
    delete from occupancy.queued_kernel k where k.session_id = old.session_id;
    delete from occupancy.session_dependency d where d.session_id = old.session_id;
    if old.session_type <> 'system' and waited.session_id is not null then
      update occupancy.key_queue q
      set sessions = occupancy.count_minus(q.sessions, 1, 'queue of ' || q.access_key),
          slots = occupancy.slots_minus(
            q.slots, waited.total_slots, 'queue of ' || q.access_key)
      where q.access_key = old.access_key;
    end if;
  end if;
  insert into occupancy.session_history (session_id, changed_at, from_status, to_status, reason)
  values (
    old.session_id, coalesce(new.ended_at, new.terminating_at, occupancy.clock()),
    occupancy.session_status(old.status, old.stage), new.status,
    case new.status when 'TERMINATING' then 'terminated' else 'released' end);
  return new;
end;
$$;

comment on function occupancy.leave_queue() is
  'Internal. When a session that came through the queue ends or begins to: notes the change, and '
  'takes one that was PENDING out of the queue.';
revoke all on function occupancy.leave_queue() from public;

-- Nobody but sessions of the queue has a stage, so that others pay for this condition alone.
create or replace trigger session_leaves_queue
before update on occupancy.session
for each row
when (old.stage is not null and new.status <> old.status and new.status <> 'RUNNING')
execute function occupancy.leave_queue();

comment on trigger session_leaves_queue on occupancy.session is
  'Keeps the queue in step with sessions that are ended by functions that do not know it.';
