create or replace function occupancy.refuse_key(access_key text)
returns void
language plpgsql immutable parallel safe
as $$
begin
  raise exception 'unknown access key'
    using errcode = 'OC002', detail = access_key, hint = 'register it with occupancy.put_keypair';
end;
$$;

comment on function occupancy.refuse_key(text) is
  'Internal. Refuses (OC002) an access key that nobody registered.';
revoke all on function occupancy.refuse_key(text) from public;
