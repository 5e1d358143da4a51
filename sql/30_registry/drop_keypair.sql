create or replace function occupancy.drop_keypair(access_key text)
returns occupancy.registration
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
begin
  perform occupancy.check_name(access_key, 'access_key');
  perform from occupancy.keypair k where k.access_key = drop_keypair.access_key for update;
  if not found then
    return row('unknown')::occupancy.registration;
  end if;
  if exists (
    select from occupancy.session s
    where s.access_key = drop_keypair.access_key and s.ended_at is null
  ) or exists (
    select from occupancy.session_concurrency c where c.access_key = drop_keypair.access_key
  ) then
    return row('in_use')::occupancy.registration;
  end if;
  delete from occupancy.keypair k where k.access_key = drop_keypair.access_key;
  return row('dropped')::occupancy.registration;
end;
$$;

comment on function occupancy.drop_keypair(text) is
  'Removes an access key: dropped, in_use (it has sessions that live; see clear_concurrency) or '
  'unknown. OC005.';
revoke all on function occupancy.drop_keypair(text) from public;
grant execute on function occupancy.drop_keypair(text) to occupancy_admin;
