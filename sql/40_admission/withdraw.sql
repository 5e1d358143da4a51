create or replace function occupancy.withdraw(claim occupancy.session)
returns occupancy.admission
language plpgsql volatile
as $$
begin
  delete from occupancy.session s where s.session_id = claim.session_id;
  return null;
end;
$$;

comment on function occupancy.withdraw(occupancy.session) is
  'Internal. Gives a claimed id back, for another attempt.';
revoke all on function occupancy.withdraw(occupancy.session) from public;
