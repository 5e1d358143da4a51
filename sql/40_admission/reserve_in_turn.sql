create or replace function occupancy.reserve_in_turn(request occupancy.request, fresh boolean)
returns occupancy.admission
language plpgsql volatile
as $$
begin
  -- An unknown key or agent does not matter where the id alone decides.
  if (request.refusal).outcome is not null
     and ((request.refusal).code not in ('OC002', 'OC003')
          or not exists (
            select from occupancy.session s where s.session_id = request.session_id))
  then
    return request.refusal;
  end if;
  return occupancy.reserve(
    request.session_id, request.access_key, request.session_type, request.project,
    request.placed, fresh);
exception when sqlstate 'OC002' or sqlstate 'OC003' or sqlstate 'OC005' or sqlstate 'OC006' then
  return occupancy.refusal(request.session_id, request.access_key, sqlstate, sqlerrm);
end;
$$;

comment on function occupancy.reserve_in_turn(occupancy.request, boolean) is
  'Internal. One request of a batch; a mistake of the caller is an answer, too.';
revoke all on function occupancy.reserve_in_turn(occupancy.request, boolean) from public;
