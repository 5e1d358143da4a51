create or replace function occupancy.count_by_hand()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  change record;
begin
  if tg_op = 'TRUNCATE' then
    perform from occupancy.keypair p order by p.access_key for no key update;
    update occupancy.keypair p set compute_used = 0, system_used = 0
    where (p.compute_used, p.system_used) <> (0, 0);
    return null;
  end if;
  -- What is not there, OLD or NEW, is NULL.
  for change in
    select r.access_key, sum(r.n) filter (where not r.system) as compute,
           sum(r.n) filter (where r.system) as system, sum(r.n) as rows
    from (values (old.access_key, old.system, -1), (new.access_key, new.system, 1))
      as r (access_key, system, n)
    where r.access_key is not null
    group by r.access_key
    order by r.access_key
  loop
    update occupancy.keypair p
    set compute_used = occupancy.count_minus(
          p.compute_used, -coalesce(change.compute, 0), 'keypair ' || p.access_key),
        system_used = occupancy.count_minus(
          p.system_used, -coalesce(change.system, 0), 'keypair ' || p.access_key)
    where p.access_key = change.access_key;
    -- What a key that is gone left behind may go as well.
    if not found and change.rows > 0 then
      perform occupancy.refuse_key(change.access_key);
    end if;
  end loop;
  return null;
end;
$$;

comment on function occupancy.count_by_hand() is
  'Internal. Lets the counters of a key follow what somebody does to session_concurrency by hand. '
  'OC002 for a row of a key that is not registered, OC010.';
revoke all on function occupancy.count_by_hand() from public;
