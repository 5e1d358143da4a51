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
  kernels_wanted constant integer := cardinality(placed.kernel_ids);
  key occupancy.key_context;
  ahead occupancy.outlook;
  answer occupancy.admission;
begin
  for attempt in 1 .. 100 loop
    -- Id and counts in one statement: read apart, a duplicate at limit 1 could miss its own row
    -- and then find the key full.
    select k.* into key from occupancy.read_key(session_id, access_key, session_type) as k;
    if key.session_status is not null then
      return occupancy.repeated_reservation(
        session_id, access_key, session_type, project, placed, fresh);
    end if;
    ahead := occupancy.look_ahead(access_key, session_type, project, placed, key);
    -- Who cannot be admitted anyway takes no lock and writes nothing.
    if fresh then
      if not key.is_active or kernels_wanted > key.max_kernels_per_session
         or key.used >= key.max
      then
        return occupancy.key_rejection(
          session_id, access_key, session_type, kernels_wanted, key);
      end if;
      if not ahead.fits then
        answer := occupancy.rejection_without_lock(
          session_id, access_key, session_type, project, placed, key);
        if answer.outcome is not null then
          return answer;
        end if;
      end if;
    end if;

    insert into occupancy.session (
      session_id, status, access_key, session_type, user_id, project, resource_group, domain,
      created_at)
    values (
      reserve.session_id, 'RUNNING', reserve.access_key, reserve.session_type, key.user_id,
      reserve.project, ahead.resource_group, key.domain, occupancy.clock())
    on conflict do nothing;
    if found then
      answer := occupancy.admit(
        session_id, access_key, session_type, project, placed, key, ahead);
      if answer.outcome = 'admitted' then
        return answer;
      end if;
      delete from occupancy.session s where s.session_id = reserve.session_id;
      if answer.outcome is not null then
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
