create or replace function occupancy.withdraw(session_id uuid)
returns void
language plpgsql volatile
as $$
begin
  delete from occupancy.session_concurrency c where c.session_id = withdraw.session_id;
  delete from occupancy.session s where s.session_id = withdraw.session_id;
end;
$$;

comment on function occupancy.withdraw(uuid) is 'Internal. Gives a claimed id back, with its slot.';
revoke all on function occupancy.withdraw(uuid) from public;
