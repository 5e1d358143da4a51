create or replace function occupancy.most_free(resource_group text, agent_id text, names text[])
returns jsonb
language sql stable
as $$
  select jsonb_object_agg(m.name, trim_scale(m.free)::text)
  from (
    select n.name,
           max(coalesce((a.available_slots ->> n.name)::numeric, 0)
               - coalesce((a.occupied_slots ->> n.name)::numeric, 0)) as free
    from occupancy.agent a
    cross join unnest(names) as n (name)
    where a.resource_group = most_free.resource_group
      and a.agent_id = coalesce(most_free.agent_id, a.agent_id)
      and a.status = 'ALIVE' and a.schedulable
    group by n.name
  ) as m;
$$;

comment on function occupancy.most_free(text, text, text[]) is
  'Internal. The most of each slot that one agent of a group has free, or that this one has; NULL '
  'if there is none that is alive and schedulable.';
revoke all on function occupancy.most_free(text, text, text[]) from public;
