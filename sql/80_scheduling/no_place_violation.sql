create or replace function occupancy.no_place_violation(
  resource_group text,
  designated text,
  requested jsonb,
  free jsonb
)
returns jsonb
language sql stable parallel safe
as $$
  select case when designated is null then
    occupancy.queue_violation(
      'no_agent_fits', 'resource_group', resource_group, null, null, requested, most.free,
      case when no_place_violation.free is not null
        then format('no agent of resource group %s has room for %s; the most that one has free is %s',
                    resource_group, occupancy.slots_words(requested),
                    occupancy.slots_words(most.free))
        else format('resource group %s has no agent that is alive and schedulable', resource_group)
      end)
  else
    occupancy.queue_violation(
      'designated_agent', 'agent', designated, null, null, requested, most.free,
      case when no_place_violation.free is not null
        then format('agent %s has %s free, %s requested', designated,
                    occupancy.slots_words(most.free), occupancy.slots_words(requested))
        else format('agent %s is not alive, not schedulable or not in resource group %s', designated,
                    resource_group)
      end)
  end
  from (
    select jsonb_object_agg(r.slot, coalesce(no_place_violation.free ->> r.slot, '0')) as free
    from jsonb_object_keys(requested) as r (slot)
  ) as most;
$$;

comment on function occupancy.no_place_violation(text, text, jsonb, jsonb) is
  'Internal. That a request finds no room: on the designated agent, or where that is NULL on any of '
  'the group. free: the most that one agent has; NULL if none may be given anything.';
revoke all on function occupancy.no_place_violation(text, text, jsonb, jsonb) from public;
