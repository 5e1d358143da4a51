create or replace function occupancy.new_claim(
  session_id uuid,
  access_key text,
  session_type text,
  project text,
  placed occupancy.placement,
  context occupancy.reservation_context
)
returns occupancy.session
language plpgsql volatile
as $$
begin
  if context.user_id is null then
    raise exception 'unknown access key'
      using errcode = 'OC002', detail = access_key,
            hint = 'register it with occupancy.put_keypair';
  end if;
  if context.agents_known < cardinality(placed.agent_ids) then
    raise exception 'unknown agent'
      using errcode = 'OC003',
            -- None of them, if they were registered since the context was read.
            detail = coalesce((
              select string_agg(wanted.agent_id, ', ')
              from unnest(placed.agent_ids) as wanted (agent_id)
              where not exists (
                select from occupancy.agent a where a.agent_id = wanted.agent_id)), ''),
            hint = 'register it with occupancy.put_agent';
  end if;
  if context.first_group <> context.last_group then
    raise exception 'the agents of a session are of two resource groups'
      using errcode = 'OC005',
            detail = format('%s, %s', context.first_group, context.last_group),
            hint = 'place all kernels on agents of one group';
  end if;
  return row(
    session_id, 'RUNNING', access_key, session_type, context.user_id, project,
    context.first_group, context.domain, occupancy.clock(), null, null
  )::occupancy.session;
end;
$$;

comment on function occupancy.new_claim(
  uuid, text, text, text, occupancy.placement, occupancy.reservation_context
) is
  'Internal. The row by which a reservation claims its id, with the scopes it will be charged to. '
  'OC002 unknown key, OC003 unknown agent, OC005 agents of two groups.';
revoke all on function occupancy.new_claim(
  uuid, text, text, text, occupancy.placement, occupancy.reservation_context
) from public;
