create or replace function occupancy.release_outcomes(
  session_ids uuid[],
  released uuid[],
  unseen uuid[]
)
returns setof occupancy.session_outcome
language plpgsql immutable
-- The planner, who cannot know how much it is, must not compare everything with everything.
set enable_nestloop = off
as $$
begin
  return query
    select i.session_id,
           case when row_number() over (partition by i.session_id order by i.position) > 1
                then 'already_released'
                when r.session_id is not null then 'released'
                when u.session_id is not null then 'unknown'
                else 'already_released' end
    from unnest(session_ids) with ordinality as i (session_id, position)
    left join unnest(released) as r (session_id) on r.session_id = i.session_id
    left join unnest(unseen) as u (session_id) on u.session_id = i.session_id
    order by i.position;
end;
$$;

comment on function occupancy.release_outcomes(uuid[], uuid[], uuid[]) is
  'Internal. What became of each id of a batch of releases: of equal ones the first counts.';
revoke all on function occupancy.release_outcomes(uuid[], uuid[], uuid[]) from public;
