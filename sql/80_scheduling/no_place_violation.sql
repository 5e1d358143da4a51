create or replace function occupancy.no_place_violation(
  resource_group text,
  designated text,
  requested jsonb
)
returns jsonb
language sql stable
as $$
  with usable as (
    select a.* from occupancy.agent a
    where a.resource_group = no_place_violation.resource_group
      and a.status = 'ALIVE' and a.schedulable
      and (designated is null or a.agent_id = designated)
  ),
  most as (
    select jsonb_object_agg(r.slot, trim_scale(f.free)::text) as free
    from jsonb_object_keys(requested) as r (slot)
    cross join lateral (
      select coalesce(max(coalesce((u.available_slots ->> r.slot)::numeric, 0)
                          - coalesce((u.occupied_slots ->> r.slot)::numeric, 0)), 0) as free
      from usable u
    ) as f
  )
  select case when designated is null then
    occupancy.queue_violation(
      'no_agent_fits', 'resource_group', no_place_violation.resource_group, null, null,
      requested, most.free,
      case when exists (select from usable)
        then format('no agent of resource group %s has room for %s; the most that one has free is %s',
                    no_place_violation.resource_group, occupancy.slots_words(requested),
                    occupancy.slots_words(most.free))
        else format('resource group %s has no agent that is alive and schedulable',
                    no_place_violation.resource_group)
      end)
  else
    occupancy.queue_violation(
      'designated_agent', 'agent', designated, null, null, requested, most.free,
      case when exists (select from usable)
        then format('agent %s has %s free, %s requested', designated,
                    occupancy.slots_words(most.free), occupancy.slots_words(requested))
        else format('agent %s is not alive, not schedulable or not in resource group %s', designated,
                    no_place_violation.resource_group)
      end)
  end
  from most;
$$;

comment on function occupancy.no_place_violation(text, text, jsonb) is
  'Internal. That a request finds no room: on the designated agent, or where that is NULL on any of '
  'the group. max: the most that one agent has free of each slot.';
revoke all on function occupancy.no_place_violation(text, text, jsonb) from public;
