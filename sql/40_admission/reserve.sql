create or replace function occupancy.reserve(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  fresh boolean
)
returns occupancy.admission
language plpgsql volatile
as $$
declare
  context occupancy.reservation_context;
  claim occupancy.session;
  answer occupancy.admission;
begin
  for attempt in 1 .. 100 loop
    -- Id and count in one statement: read apart, a duplicate at limit 1 could miss its own row
    -- and then find the key full.
    select c.* into context
    from occupancy.read_context(session_id, access_key, project, placed.agent_ids) as c;
    if context.session_status is not null then
      return occupancy.repeated_reservation(
        session_id, access_key, session_type, project, placed, fresh);
    end if;
    claim := occupancy.new_claim(session_id, access_key, session_type, project, placed, context);
    -- Who cannot be admitted anyway takes no lock and writes nothing.
    if fresh and not occupancy.key_admits(session_type, cardinality(placed.agents), context) then
      return occupancy.key_rejection(claim, placed, context);
    end if;

    insert into occupancy.session values (claim.*) on conflict do nothing;
    if found then
      answer := occupancy.admit(claim, placed, context);
      if answer.session_id is not null then
        return answer;
      end if;
    end if;
    -- Somebody else came first with this id, or changed the key or the agents meanwhile.
  end loop;
  raise exception 'the key or its agents keep changing'
    using errcode = 'serialization_failure', hint = 'repeat the call';
end;
$$;

comment on function occupancy.reserve(
  uuid, text, text, text, occupancy.placement, boolean
) is
  'Internal. A reservation whose arguments are checked. fresh: see enter_ledger.';
revoke all on function occupancy.reserve(
  uuid, text, text, text, occupancy.placement, boolean
) from public;
