create or replace function occupancy.uncontested_requests(
  requests occupancy.request[],
  claimed uuid[],
  demands occupancy.demand[]
)
returns bigint[]
language plpgsql stable
as $$
declare
  contested constant occupancy.demand[] :=
    array(select c from occupancy.contested(demands) as c);
begin
  return array(
    with asked as (
      select distinct on (r.session_id) r.*
      from unnest(requests) with ordinality as r (
        session_id, access_key, session_type, project, placed, refusal, position)
      where r.session_id = any (claimed)
      order by r.session_id, r.position
    ),
    on_kernels_in_doubt as (
      select w.position
      from (
        select a.position, k.kernel_id, count(*) over (partition by k.kernel_id) as times
        from unnest(requests) with ordinality as a (
          session_id, access_key, session_type, project, placed, refusal, position),
          unnest((a.placed).kernel_ids) as k (kernel_id)
      ) as w
      where w.times > 1
        or exists (select from occupancy.kernel k where k.kernel_id = w.kernel_id)
    ),
    on_hard_agents as (
      select a.position
      from asked a, unnest((a.placed).agent_ids) as w (agent_id)
      where w.agent_id in (select c.id from unnest(contested) as c where c.kind = 'agent')
    )
    select a.position
    from asked a
    join occupancy.session s on s.session_id = a.session_id
    join occupancy.keypair k on k.access_key = a.access_key
    join occupancy.resource_policy p on p.name = k.resource_policy
    where (a.refusal).outcome is null
      and k.is_active
      and coalesce(cardinality((a.placed).kernel_ids) <= p.max_kernels_per_session, true)
      -- What the claim was made with still holds.
      and (s.user_id, s.domain) is not distinct from (k.user_id, k.domain)
      and a.access_key not in (
        select c.id from unnest(contested) as c where c.kind in ('keypair', 'system'))
      and not exists (
        select from unnest(contested) as c
        where (c.kind, c.id) in (
          ('user', s.user_id), ('project', s.project), ('resource_group', s.resource_group),
          ('domain', s.domain)))
      and a.position not in (select d.position from on_kernels_in_doubt d)
      and a.position not in (select h.position from on_hard_agents h)
      and cardinality((a.placed).agent_ids) = (
        select count(*) from occupancy.agent g
        where g.agent_id = any ((a.placed).agent_ids)
          and g.status = 'ALIVE' and g.schedulable and g.resource_group = s.resource_group)
    order by a.position
  );
end;
$$;

comment on function occupancy.uncontested_requests(
  occupancy.request[], uuid[], occupancy.demand[]
) is
  'Internal. Positions of the requests of a batch that are admitted whatever becomes of the '
  'others: nothing is wrong with them, and every counter that they touch has room for all. The '
  'locks of the batch are held.';
revoke all on function occupancy.uncontested_requests(
  occupancy.request[], uuid[], occupancy.demand[]
) from public;
