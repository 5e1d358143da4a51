create or replace function occupancy.counted(
  requests occupancy.request[],
  answers occupancy.admission[],
  used_before occupancy.concurrency_count[]
)
returns setof occupancy.admission
language plpgsql stable
as $$
begin
  return query
    select a.session_id, a.outcome, a.code, a.message, a.access_key,
           case when a.outcome <> 'invalid' then
             case when r.session_type = 'system' then b.system_used else b.compute_used end
             + count(*) filter (where a.outcome = 'admitted') over (
                 partition by r.access_key, r.session_type = 'system' order by a.position)
           end,
           case when a.outcome = 'invalid' then null
                when r.session_type = 'system' then b.system_max else b.compute_max end,
           a.violations, a.kernels
    from unnest(answers) with ordinality as a (
      session_id, outcome, code, message, access_key, used, max, violations, kernels, position)
    join unnest(requests) with ordinality as r (
      session_id, access_key, session_type, project, placed, refusal, position)
      on r.position = a.position
    left join unnest(used_before) as b on b.access_key = r.access_key
    order by a.position;
end;
$$;

comment on function occupancy.counted(
  occupancy.request[], occupancy.admission[], occupancy.concurrency_count[]
) is
  'Internal. The answers of a batch with the count that each key had after its turn.';
revoke all on function occupancy.counted(
  occupancy.request[], occupancy.admission[], occupancy.concurrency_count[]
) from public;
