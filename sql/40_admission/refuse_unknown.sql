create or replace function occupancy.refuse_unknown(
  requests occupancy.request[],
  claimed uuid[],
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
        when (r.refusal).outcome is not null
             or exists (
               select from occupancy.session s
               where s.session_id = r.session_id and s.session_id <> all (claimed))
        then r.refusal
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

comment on function occupancy.refuse_unknown(occupancy.request[], uuid[], text[], text[]) is
  'Internal. A batch in which requests of these keys (OC002) and agents (OC003) are refused, unless '
  'an id that was not claimed decides alone.';
revoke all on function occupancy.refuse_unknown(occupancy.request[], uuid[], text[], text[]) from public;
