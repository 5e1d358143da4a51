create or replace function occupancy.weigh_kernels(kernels occupancy.asked_kernel[])
returns occupancy.counter[]
language plpgsql volatile
as $$
begin
  return array(
    select row('kernel', n.kernel_id::text, null, n.taken, n.asked, 1)::occupancy.counter
    from (
      select k.kernel_id, count(*) as asked, count(distinct stored.kernel_id) as taken
      from unnest(kernels) as k
      left join occupancy.kernel stored on stored.kernel_id = k.kernel_id
      group by k.kernel_id
    ) as n
    where n.asked > 1 or n.taken > 0);
end;
$$;

comment on function occupancy.weigh_kernels(occupancy.asked_kernel[]) is
  'Internal. The kernel ids that are named more than once, or belong to a session already.';
revoke all on function occupancy.weigh_kernels(occupancy.asked_kernel[]) from public;
