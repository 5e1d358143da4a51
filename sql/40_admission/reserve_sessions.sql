create or replace function occupancy.reserve_sessions(sessions jsonb)
returns setof occupancy.admission
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  requests constant occupancy.request[] := occupancy.parse_requests(sessions);
  fresh constant boolean := occupancy.enter_ledger();
  request occupancy.request;
  pruned_ids uuid[];
  unknown_keys text[];
  unknown_agents text[];
  answer occupancy.admission;
begin
  select l.pruned_ids, l.unknown_keys, l.unknown_agents
  into pruned_ids, unknown_keys, unknown_agents
  from occupancy.lock_for_requests(requests) as l;
  foreach request in array requests loop
    answer := request.refusal;
    if answer.outcome is null then
      begin
        -- What the locks missed is not there for this batch: later locks would be out of order.
        if (request.access_key = any (unknown_keys)
            or (request.placed).agent_ids && unknown_agents)
           and not exists (
             select from occupancy.session s where s.session_id = request.session_id)
        then
          if request.access_key = any (unknown_keys) then
            perform occupancy.refuse_key(request.access_key);
          end if;
          raise exception 'unknown agent' using errcode = 'OC003';
        end if;
        if request.session_id = any (pruned_ids) then
          answer := occupancy.repeated_reservation(
            request.session_id, request.access_key, request.session_type, request.project,
            request.placed, fresh);
        else
          answer := occupancy.reserve(
            request.session_id, request.access_key, request.session_type, request.project,
            request.placed, fresh);
        end if;
      exception when sqlstate 'OC002' or sqlstate 'OC003' or sqlstate 'OC005' or sqlstate 'OC006'
      then
        answer := occupancy.refusal(request.session_id, request.access_key, sqlstate, sqlerrm);
      end;
    end if;
    return next answer;
  end loop;
end;
$$;

comment on function occupancy.reserve_sessions(jsonb) is
  'Reserves a batch: an array, of at most 10,000, of objects with the argument names of '
  'reserve_session. Same decisions as one call each in that order, in one transaction; answers in '
  'input order. A rejection stops nobody else, nor does an element with a mistake: its outcome is '
  'invalid, its code the OC code. OC005 for what is no array of objects.';
revoke all on function occupancy.reserve_sessions(jsonb) from public;
grant execute on function occupancy.reserve_sessions(jsonb) to occupancy_manager;
