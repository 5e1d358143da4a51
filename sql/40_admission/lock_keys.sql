create or replace function occupancy.lock_keys(access_keys text[])
returns occupancy.key_owner[]
language plpgsql volatile
as $$
declare
  ids constant text[] := array(
    select distinct n.id collate "C" from unnest(access_keys) as n (id) order by 1);
  held occupancy.key_owner[] := array[]::occupancy.key_owner[];
  first integer := 1;
  last integer := 1;
begin
  -- In parts that double. A row that somebody has changed since the statement began is looked up and
  -- compared anew, one by one, which takes longer than all the rest. Who shares keys with others soon
  -- comes to one that he has to wait for; the parts after it begin when he has waited.
  while first <= cardinality(ids) loop
    held := held || array(
      select row(k.access_key, k.user_id, k.domain)::occupancy.key_owner
      from occupancy.keypair k where k.access_key = any (ids[first : last])
      order by k.access_key for no key update);
    first := last + 1;
    last := 2 * last + 1;
  end loop;
  return held;
end;
$$;

comment on function occupancy.lock_keys(text[]) is
  'Internal. Locks keys, sorted, and returns to whom their sessions are charged.';
revoke all on function occupancy.lock_keys(text[]) from public;
