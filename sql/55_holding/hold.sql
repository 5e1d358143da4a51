create or replace function occupancy.hold(answer occupancy.admission, epoch bigint)
returns occupancy.admission
language plpgsql volatile
as $$
begin
  if epoch is not null and answer.outcome = 'already_admitted' then
    perform from occupancy.session s
    where s.session_id = answer.session_id and s.status = 'RUNNING'
    for no key update;
    if not found then
      return occupancy.ended_rejection(
        answer.session_id, answer.access_key, answer.used, answer.max);
    end if;
    perform occupancy.take_over(answer.session_id, epoch);
  end if;
  return answer;
end;
$$;

comment on function occupancy.hold(occupancy.admission, bigint) is
  'Internal. The answer to a reservation that is repeated by a manager of this epoch (NULL: by '
  'nobody). What was admitted before stays with its holder, unless he is suspect.';
revoke all on function occupancy.hold(occupancy.admission, bigint) from public;
