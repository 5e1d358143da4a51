create or replace function occupancy.counts_of(access_keys text[])
returns occupancy.concurrency_count[]
language plpgsql volatile
as $$
begin
  return array(
    select row(k.access_key, k.compute_used, p.max_concurrent_sessions, k.system_used,
               p.max_concurrent_system_sessions)::occupancy.concurrency_count
    from occupancy.keypair k
    join occupancy.resource_policy p on p.name = k.resource_policy
    where k.access_key = any (access_keys));
end;
$$;

comment on function occupancy.counts_of(text[]) is
  'Internal. The counts and limits of keys, as they are now.';
revoke all on function occupancy.counts_of(text[]) from public;
