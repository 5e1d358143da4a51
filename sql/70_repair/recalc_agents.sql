create or replace function occupancy.recalc_agents(agent_ids text[])
returns setof occupancy.correction
language plpgsql volatile
as $$
begin
  -- Whoever starts or ends a kernel holds its agent's row.
  perform from occupancy.agent a
  where a.agent_id = any (agent_ids)
  order by a.agent_id for no key update;

  return query
    with orphans as (
      update occupancy.kernel k set ended_at = occupancy.clock()
      where k.agent_id = any (agent_ids) and k.ended_at is null
        and not exists (
          select from occupancy.session s
          where s.session_id = k.session_id and s.ended_at is null)
      returning k.kernel_id, k.ended_at
    )
    select 'kernel ' || o.kernel_id, jsonb_build_object('ended_at', null),
           jsonb_build_object('ended_at', o.ended_at)
    from orphans o;
  return query
    with wrong as (
      select a.agent_id, a.occupied_slots, t.slots
      from occupancy.agent a
      cross join lateral occupancy.agent_use(a.agent_id) as t (slots)
      where a.agent_id = any (agent_ids) and a.occupied_slots <> t.slots
    ), mended as (
      update occupancy.agent a set occupied_slots = w.slots
      from wrong w
      where a.agent_id = w.agent_id
    )
    select 'agent ' || w.agent_id,
           jsonb_build_object('occupied_slots', w.occupied_slots),
           jsonb_build_object('occupied_slots', w.slots)
    from wrong w
    order by w.agent_id;
end;
$$;

comment on function occupancy.recalc_agents(text[]) is
  'Internal. Ends kernels whose session does not live, then mends what agents have occupied from '
  'their live kernels.';
revoke all on function occupancy.recalc_agents(text[]) from public;
