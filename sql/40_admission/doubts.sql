create or replace function occupancy.doubts(
  batch occupancy.batch,
  obstacles occupancy.counter[]
)
returns setof occupancy.doubt
language plpgsql stable
set enable_nestloop = off
as $$
begin
  return query
    with obstacle as materialized (
      select o.* from unnest(obstacles) with ordinality as o (kind, id, slot, used, asked, max, n)
    ), kernel as materialized (
      select k.* from unnest(batch.kernels) as k
    ), session as materialized (
      select s.*, min(s.position) over same_id as first, count(*) over same_id > 1 as repeated
      from unnest(batch.sessions) as s
      window same_id as (partition by s.session_id)
    ), touched as materialized (
      select s.position, o.n, o.kind, o.slot, s.kernel_count
      from session s join obstacle o on o.id = s.access_key
      where o.kind in ('key_inactive', 'kernels_per_session')
         or o.kind = case s.session_type when 'system' then 'system' else 'keypair' end
      union all
      select s.position, o.n, o.kind, o.slot, s.kernel_count
      from session s join obstacle o on o.kind = 'user' and o.id = s.user_id
      where s.session_type <> 'system'
      union all
      select s.position, o.n, o.kind, o.slot, s.kernel_count
      from session s join obstacle o on o.kind = 'project' and o.id = s.project
      where s.session_type <> 'system'
      union all
      select s.position, o.n, o.kind, o.slot, s.kernel_count
      from session s join obstacle o on o.kind = 'resource_group' and o.id = s.resource_group
      where s.session_type <> 'system'
      union all
      select s.position, o.n, o.kind, o.slot, s.kernel_count
      from session s join obstacle o on o.kind = 'domain' and o.id = s.domain
      where s.session_type <> 'system'
    ), met as (
      select t.position, t.n,
             case t.kind when 'kernels_per_session' then t.kernel_count else 1 end::numeric
               as requested
      from touched t
      where t.slot is null
      union all
      select t.position, t.n, sum((k.slots ->> t.slot)::numeric)
      from touched t join kernel k on k.session = t.position
      where k.slots ? t.slot
      group by t.position, t.n
      union all
      select k.session, o.n, sum(coalesce((k.slots ->> o.slot)::numeric, 1))
      from kernel k join obstacle o on o.id = k.agent_id
      where o.kind = 'agent_unavailable' or o.kind = 'agent' and k.slots ? o.slot
      group by k.session, o.n
      union all
      select k.session, o.n, 1
      from kernel k join obstacle o on o.id = k.kernel_id::text
      where o.kind = 'kernel'
    ), hindered as (
      select m.position, array_agg(m.n::integer order by m.n) as counters,
             array_agg(m.requested order by m.n) as requested
      from met m group by m.position
    ), content as (
      select k.session,
             jsonb_agg(jsonb_build_array(
               case when not k.id_generated then k.kernel_id end, k.agent_id, k.slots)
               order by k.position) as kernels
      from kernel k
      where k.session in (select s.position from session s where s.repeated)
      group by k.session
    )
    select s.position, s.session_id, s.access_key, s.code, s.message, s.answer, s.first,
           case when s.repeated then jsonb_build_array(
             s.access_key, s.session_type, s.project, c.kernels) end,
           h.counters, h.requested
    from session s
    left join hindered h on h.position = s.position
    left join content c on c.session = s.position
    where s.repeated or s.code is not null or h.position is not null;
end;
$$;

comment on function occupancy.doubts(occupancy.batch, occupancy.counter[]) is
  'Internal. The sessions of a batch that are not admitted for certain: they are refused, share '
  'their id, or meet an obstacle; with what they request of each.';
revoke all on function occupancy.doubts(occupancy.batch, occupancy.counter[]) from public;
