create or replace function occupancy.same_queued_kernels(
  stored jsonb,
  wanted jsonb,
  placed boolean default false
)
returns boolean
language sql immutable parallel safe
as $$
  select jsonb_array_length(stored) = jsonb_array_length(wanted)
     and bool_and(
       s.kernel -> 'slots' = w.kernel -> 'slots'
       and s.kernel -> 'generated' = w.kernel -> 'generated'
       and (s.kernel -> 'generated' = 'true' or s.kernel -> 'kernel_id' = w.kernel -> 'kernel_id')
       and (s.kernel -> 'agent' = w.kernel -> 'agent' or placed and w.kernel -> 'agent' = 'null'))
  from jsonb_array_elements(stored) with ordinality as s (kernel, position)
  join jsonb_array_elements(wanted) with ordinality as w (kernel, position) using (position);
$$;

comment on function occupancy.same_queued_kernels(jsonb, jsonb, boolean) is
  'Internal. Whether two lists of parsed kernels were requested alike: ids or their absence, '
  'designated agents and slots. placed: the stored ones have an agent, whether designated or not.';
revoke all on function occupancy.same_queued_kernels(jsonb, jsonb, boolean) from public;
