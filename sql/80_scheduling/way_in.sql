create or replace function occupancy.way_in(violation jsonb)
returns text
language sql immutable parallel safe
return case violation ->> 'code'
  when 'start_time' then format('wait until %s', violation ->> 'requested')
  when 'dependencies' then format(
    'let session %s end with success, or cancel this one', violation ->> 'scope_id')
  when 'key_inactive' then format('activate access key %s', violation ->> 'scope_id')
  when 'kernels_per_session' then format(
    'raise max_kernels_per_session to %s', violation ->> 'requested')
  when 'no_agent_fits' then format(
    'free %s on one agent of resource group %s, or add one',
    occupancy.slots_words(violation -> 'requested'), violation ->> 'scope_id')
  when 'designated_agent' then format(
    'free %s on agent %s, or see that it is alive and schedulable',
    occupancy.slots_words(violation -> 'requested'), violation ->> 'scope_id')
  when 'kernel_id_taken' then 'cancel it, and enqueue it with other kernel ids'
  else case when (violation ->> 'requested')::numeric > (violation ->> 'max')::numeric then format(
    'raise the limit of %s %s to %s %s', occupancy.scope_words(violation ->> 'scope'),
    violation ->> 'scope_id', violation ->> 'requested', coalesce(violation ->> 'slot', 'session(s)'))
  else format(
    'end sessions that hold %s %s of %s %s, or raise its limit to %s',
    trim_scale((violation ->> 'used')::numeric + (violation ->> 'requested')::numeric
               - (violation ->> 'max')::numeric),
    coalesce(violation ->> 'slot', 'session(s)'),
    occupancy.scope_words(violation ->> 'scope'), violation ->> 'scope_id',
    trim_scale((violation ->> 'used')::numeric + (violation ->> 'requested')::numeric))
  end
end;

comment on function occupancy.way_in(jsonb) is
  'Internal. What would do away with a violation, in words.';
revoke all on function occupancy.way_in(jsonb) from public;
