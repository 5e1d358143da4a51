create or replace function occupancy.batch_answers(
  asked occupancy.batch,
  decided occupancy.batch,
  used_before occupancy.concurrency_count[]
)
returns setof occupancy.admission
language plpgsql stable
set enable_nestloop = off
as $$
begin
  return query
    with answer as (
      select s.position, s.session_id, 'admitted' as outcome, null as code, null as message,
             s.access_key, null::jsonb as violations, s.answer as kernels,
             s.session_type = 'system' as system
      from unnest(decided.sessions) as s
      union all
      select a.position, a.session_id, a.outcome, a.code, a.message,
             a.access_key, a.violations, a.kernels, s.session_type = 'system'
      from unnest(decided.answers) with ordinality as a (
        session_id, outcome, code, message, access_key, used, max, violations, kernels, position)
      left join unnest(asked.sessions) as s on s.position = a.position
      where a.outcome is not null
    )
    select a.session_id, a.outcome, a.code, a.message, a.access_key,
           case when a.outcome <> 'invalid' then
             case when a.system then b.system_used else b.compute_used end
             + count(*) filter (where a.outcome = 'admitted') over (
                 partition by a.access_key, a.system order by a.position)
           end,
           case when a.outcome = 'invalid' then null
                when a.system then b.system_max else b.compute_max end,
           a.violations, a.kernels
    from answer a
    left join unnest(used_before) as b on b.access_key = a.access_key
    order by a.position;
end;
$$;

comment on function occupancy.batch_answers(
  occupancy.batch, occupancy.batch, occupancy.concurrency_count[]
) is
  'Internal. The answers of a batch in input order, with the count that each key had after its '
  'turn.';
revoke all on function occupancy.batch_answers(
  occupancy.batch, occupancy.batch, occupancy.concurrency_count[]
) from public;
