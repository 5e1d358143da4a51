create or replace function occupancy.claim_kernels(session_id uuid, kernels jsonb)
returns void
language plpgsql volatile
as $$
declare
  wanted bigint;
  written bigint;
begin
  if not kernels @> '[{"generated": false}]' then
    return;
  end if;
  with given as (
    select (e.kernel ->> 'kernel_id')::uuid as kernel_id
    from jsonb_array_elements(kernels) as e (kernel)
    where e.kernel -> 'generated' = 'false'
  ), claimed as (
    insert into occupancy.queued_kernel (kernel_id, session_id)
    select g.kernel_id, claim_kernels.session_id from given g order by g.kernel_id
    on conflict do nothing
    returning kernel_id
  )
  select (select count(*) from given), (select count(*) from claimed) into wanted, written;
  if written < wanted or occupancy.kernels_taken(kernels) then
    raise exception 'a kernel id belongs to another session'
      using errcode = 'OC006', detail = session_id::text,
            hint = 'give every kernel an id of its own';
  end if;
end;
$$;

comment on function occupancy.claim_kernels(uuid, jsonb) is
  'Internal. Keeps the kernel ids that a caller gave to a PENDING session; OC006 if one is taken.';
revoke all on function occupancy.claim_kernels(uuid, jsonb) from public;
