create or replace function occupancy.refuse_missing(
  requests occupancy.request[],
  pruned_ids uuid[],
  unknown_keys text[],
  unknown_agents text[]
)
returns occupancy.request[]
language plpgsql volatile
as $$
begin
  return array(
    select row(
      r.session_id, r.access_key, r.session_type, r.project, r.placed,
      case
        when (r.refusal).outcome is not null then r.refusal
        when r.session_id = any (pruned_ids)
        then occupancy.ended_rejection(r.session_id, r.access_key, null, null)
        when r.access_key = any (unknown_keys)
        then occupancy.refusal(r.session_id, r.access_key, 'OC002', 'unknown access key')
        when (r.placed).agent_ids && unknown_agents
        then occupancy.refusal(r.session_id, r.access_key, 'OC003', 'unknown agent')
        else r.refusal
      end)::occupancy.request
    from unnest(requests) with ordinality as r (
      session_id, access_key, session_type, project, placed, refusal, position)
    order by r.position);
end;
$$;

comment on function occupancy.refuse_missing(
  occupancy.request[], uuid[], text[], text[]
) is
  'Internal. A batch in which the requests of ids that have ended and were pruned since, of '
  'unknown keys (OC002) and of unknown agents (OC003) carry their answer.';
revoke all on function occupancy.refuse_missing(
  occupancy.request[], uuid[], text[], text[]
) from public;
