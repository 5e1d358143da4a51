create or replace function occupancy.explain_session(session_id uuid)
returns setof occupancy.explanation
language plpgsql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.check_id(session_id, 'session_id');
  stored occupancy.session;
  waiting occupancy.queued_session;
  reason occupancy.queued_reason;
  tries bigint;
begin
  select s.* into stored from occupancy.session s
  where s.session_id = explain_session.session_id;
  if not found then
    raise exception 'unknown session'
      using errcode = 'OC004', detail = session_id::text,
            hint = 'pass a session that lives or is remembered';
  end if;
  select q.* into waiting from occupancy.queued_session q
  where q.session_id = explain_session.session_id;
  select r.* into reason from occupancy.queued_reason r where r.reason_id = waiting.reason_id;
  tries := waiting.tries_apart + coalesce(reason.tries, 0);
  if stored.status = 'PENDING' and waiting.session_id is not null then
    return query
      select waiting.session_id, 'PENDING', waiting.enqueued_at, tries, reason.tried_at,
             v.violation ->> 'code', v.violation ->> 'message', v.violation ->> 'scope',
             v.violation ->> 'scope_id', v.violation ->> 'slot',
             nullif(v.violation -> 'used', 'null'), nullif(v.violation -> 'requested', 'null'),
             nullif(v.violation -> 'max', 'null'),
             occupancy.holders_of(
               case v.violation ->> 'code' when 'no_agent_fits' then 'agents'
                    else v.violation ->> 'scope' end,
               v.violation ->> 'scope_id', coalesce(v.violation ->> 'slot', scarce.slot),
               stored.session_type = 'system' and v.violation ->> 'scope' = 'keypair'),
             occupancy.way_in(v.violation)
      from jsonb_array_elements(occupancy.present_violations(waiting))
        with ordinality as v (violation, position)
      -- Where it is not one slot that is exceeded: one that no agent has enough of, or any.
      left join lateral (
        select coalesce(
          min(r.slot) filter (
            where (v.violation -> 'requested' ->> r.slot)::numeric
                  > (v.violation -> 'max' ->> r.slot)::numeric),
          min(r.slot)) as slot
        from jsonb_object_keys(waiting.total_slots) as r (slot)
      ) as scarce on true
      order by v.position;
    if found then
      return;
    end if;
  end if;
  return next row(
    session_id, occupancy.session_status(stored.status, stored.stage), waiting.enqueued_at,
    tries, reason.tried_at, null,
    case when stored.status = 'PENDING' then 'nothing is in the way: the next tick can place it'
         else 'it does not wait' end,
    null, null, null, null, null, null, null, null)::occupancy.explanation;
end;
$$;

comment on function occupancy.explain_session(uuid) is
  'Why a session waits: a row per predicate that fails at this moment, with what is used, requested '
  'and allowed, the ten sessions that hold most of it, and what would let this one in; since when '
  'it waits and how often it was tried. One row without a code if nothing is in the way. OC004, '
  'OC005.';
revoke all on function occupancy.explain_session(uuid) from public;
grant execute on function occupancy.explain_session(uuid) to occupancy_viewer;
