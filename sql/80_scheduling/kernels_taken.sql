create or replace function occupancy.kernels_taken(kernels jsonb)
returns boolean
language sql stable
as $$
  select exists (
    select from occupancy.kernel k
    where k.kernel_id = any (array(
      select (e.kernel ->> 'kernel_id')::uuid from jsonb_array_elements(kernels) as e (kernel))));
$$;

comment on function occupancy.kernels_taken(jsonb) is
  'Internal. Whether the id of one of these kernels of a PENDING session belongs to another one.';
revoke all on function occupancy.kernels_taken(jsonb) from public;
