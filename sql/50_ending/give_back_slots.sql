create or replace function occupancy.give_back_slots(session_ids uuid[])
returns uuid[]
language plpgsql volatile
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
declare
  slotless uuid[];
begin
  with running as materialized (
    select s.session_id, s.access_key, s.session_type = 'system' as system
    from occupancy.session s
    where s.session_id = any (session_ids) and s.status = 'RUNNING'
  ), deleted as (
    delete from occupancy.session_concurrency c
    using running r
    where c.session_id = any (session_ids)
      and (c.session_id, c.access_key, c.system) = (r.session_id, r.access_key, r.system)
    returning c.session_id
  )
  select array(select r.session_id from running r except select d.session_id from deleted d)
  into slotless;
  return slotless;
end;
$$;

comment on function occupancy.give_back_slots(uuid[]) is
  'Internal. Deletes the slots of active sessions, whose rows the caller has locked. Returns those '
  'that had none: somebody deleted it by hand, or put it under another key.';
revoke all on function occupancy.give_back_slots(uuid[]) from public;
