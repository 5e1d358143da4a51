create or replace function occupancy.forget_queued()
returns trigger
language plpgsql volatile
-- A trigger fires for whoever changes the table, also by hand.
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  wanted bigint;
  held bigint;
begin
  -- Who waits for a session that failed waits on, even when nobody remembers it.
  if occupancy.ended_well(old) then
    select count(*) into wanted
    from occupancy.session_dependency d where d.depends_on = old.session_id;
    if wanted > 0 then
      -- Whoever places or cancels one that waits for this takes out all that it waits for, in an
      -- order of his own: waiting for him could close a circle. We come by again.
      perform from occupancy.session_dependency d
      where d.depends_on = old.session_id for update skip locked;
      get diagnostics held = row_count;
      if held < wanted then
        return null;
      end if;
      delete from occupancy.session_dependency d where d.depends_on = old.session_id;
    end if;
  end if;
  delete from occupancy.session_history h where h.session_id = old.session_id;
  return old;
end;
$$;

comment on function occupancy.forget_queued() is
  'Internal. When an ended session is pruned: forgets its history, and lets those that waited for '
  'its success go on. One that somebody takes off a waiting session right now is kept.';
revoke all on function occupancy.forget_queued() from public;

create or replace trigger session_is_forgotten
before delete on occupancy.session
for each row
when (old.ended_at is not null)
execute function occupancy.forget_queued();

comment on trigger session_is_forgotten on occupancy.session is
  'Keeps history and dependencies in step with the sessions that are remembered.';
