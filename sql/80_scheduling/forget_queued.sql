create or replace function occupancy.forget_queued()
returns trigger
language plpgsql volatile
as $$
begin
  delete from occupancy.session_history h where h.session_id = old.session_id;
  -- Who waits for a session that failed waits on, even when nobody remembers it.
  if occupancy.ended_well(old) then
    delete from occupancy.session_dependency d where d.depends_on = old.session_id;
  end if;
  return null;
end;
$$;

comment on function occupancy.forget_queued() is
  'Internal. When an ended session is pruned: forgets its history, and lets those that waited for '
  'its success go on.';
revoke all on function occupancy.forget_queued() from public;

create or replace trigger session_is_forgotten
after delete on occupancy.session
for each row
when (old.ended_at is not null)
execute function occupancy.forget_queued();

comment on trigger session_is_forgotten on occupancy.session is
  'Keeps history and dependencies in step with the sessions that are remembered.';
