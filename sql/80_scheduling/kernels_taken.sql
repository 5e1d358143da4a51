create or replace function occupancy.kernels_taken(kernels jsonb)
returns boolean
language sql stable
as $$
  select exists (
    select from occupancy.kernel k
    where k.kernel_id = any (array(
      select (e.kernel ->> 'kernel_id')::uuid
      from jsonb_array_elements(kernels) as e (kernel)
      where e.kernel -> 'generated' = 'false')));
$$;

comment on function occupancy.kernels_taken(jsonb) is
  'Internal. Whether an id that a caller gave to one of these kernels belongs to another session.';
revoke all on function occupancy.kernels_taken(jsonb) from public;
