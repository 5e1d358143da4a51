create or replace function occupancy.check_session(
  session_id uuid,
  access_key text,
  kernels jsonb,
  session_type text default 'interactive',
  project text default null
)
returns setof occupancy.predicate
language plpgsql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean :=
    occupancy.check_reservation(session_id, access_key, session_type, project);
  placed constant occupancy.placement := occupancy.parse_kernels(kernels);
  key record;
  repeated occupancy.admission;
begin
  select k.user_id, s.status as session_status into key
  from (values (true)) as always
  left join occupancy.keypair k on k.access_key = check_session.access_key
  left join occupancy.session s on s.session_id = check_session.session_id;
  if key.session_status is null then
    if key.user_id is null then
      perform occupancy.refuse_key(access_key);
    end if;
    if (select count(*) < cardinality(placed.agent_ids) or count(distinct a.resource_group) > 1
        from occupancy.agent a where a.agent_id = any (placed.agent_ids))
    then
      perform occupancy.refuse_agents(placed.agent_ids);
    end if;
  else
    repeated := occupancy.repeated_reservation(
      session_id, access_key, session_type, project, placed, fresh => true);
  end if;
  return next row(
    'session_ended', repeated.outcome is distinct from 'rejected', repeated.code,
    coalesce(repeated.message, 'the session is ' || replace(repeated.outcome, '_', ' ')),
    null, null, null, 'session', session_id)::occupancy.predicate;
  -- A session that lives is not admitted again, whatever its limits are by now.
  if repeated.outcome is null then
    if exists (select from occupancy.kernel k where k.kernel_id = any (placed.kernel_ids))
       and occupancy.violations(access_key, session_type, project, placed) is null
    then
      raise exception 'a kernel id belongs to another session'
        using errcode = 'OC006', detail = session_id::text,
              hint = 'give every kernel an id of its own';
    end if;
    return query
      select f.code, bool_and(f.passed), case when not bool_and(f.passed) then f.code end,
             string_agg(occupancy.fact_message(f), '; ') filter (where not f.passed),
             case when plain then to_jsonb(max(f.used)) else
               jsonb_object_agg(coalesce(f.slot, 'sessions'), occupancy.fact_amount(f, f.used)) end,
             case when plain then to_jsonb(max(f.requested)) else
               jsonb_object_agg(
                 coalesce(f.slot, 'sessions'), occupancy.fact_amount(f, f.requested)) end,
             case when plain then to_jsonb(max(f.max)) else
               jsonb_object_agg(coalesce(f.slot, 'sessions'), occupancy.fact_amount(f, f.max)) end,
             f.scope, f.scope_id
      from occupancy.admission_facts(access_key, session_type, project, placed) as f
      cross join lateral (values (f.position in (1, 2, 3, 9))) as one_number (plain)
      group by f.position, f.code, f.scope, f.scope_id, plain
      order by f.position, f.scope_id collate "C";
  end if;
end;
$$;

comment on function occupancy.check_session(uuid, text, jsonb, text, text) is
  'What reserve_session would answer now, without changing anything: a row per predicate and '
  'subject, all of them evaluated, named by the code of the rejection. used, requested, max: a '
  'number of sessions or kernels; for quotas and agents an object of slots, in quotas with the '
  'number of sessions under "sessions"; max null = unlimited. Same errors as reserve_session: '
  'OC001, OC002, OC003, OC005, OC006.';
revoke all on function occupancy.check_session(uuid, text, jsonb, text, text) from public;
grant execute on function occupancy.check_session(uuid, text, jsonb, text, text)
  to occupancy_viewer;
