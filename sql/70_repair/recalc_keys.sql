create or replace function occupancy.recalc_keys(access_keys text[])
returns setof occupancy.correction
language plpgsql volatile
as $$
begin
  -- Whoever changes a key's set holds its row when he commits, so that what follows sees all of it
  -- and nothing half done. He may have begun before: a slot that is seen is not put in again, since
  -- that would wait for whoever is deleting it, and he for the key.
  perform from occupancy.keypair p
  where p.access_key = any (access_keys)
  order by p.access_key for no key update;

  return query
    with strays as (
      delete from occupancy.session_concurrency c
      where c.access_key = any (access_keys)
        and not exists (
          select from occupancy.session s
          where s.session_id = c.session_id and s.status = 'RUNNING'
            and s.access_key = c.access_key and (s.session_type = 'system') = c.system)
      returning c.*
    )
    select 'session_concurrency ' || d.session_id, to_jsonb(d), null::jsonb from strays d;
  return query
    with missing as (
      insert into occupancy.session_concurrency (access_key, session_id, system)
      select s.access_key, s.session_id, s.session_type = 'system'
      from occupancy.session s
      where s.access_key = any (access_keys) and s.ended_at is null and s.status = 'RUNNING'
        and (select c.session_id from occupancy.session_concurrency c
             where c.session_id = s.session_id) is null
      order by s.session_id
      on conflict do nothing
      returning *
    )
    select 'session_concurrency ' || m.session_id, null::jsonb, to_jsonb(m) from missing m;
  return query
    with wrong as (
      select p.access_key, p.compute_used, p.system_used, p.occupied_slots, t.compute, t.system,
             t.slots
      from occupancy.keypair p
      join occupancy.key_use(access_keys) as t on t.access_key = p.access_key
      where (p.compute_used, p.system_used, p.occupied_slots)
            is distinct from (t.compute, t.system, t.slots)
    ), mended as (
      update occupancy.keypair p
      set compute_used = w.compute, system_used = w.system, occupied_slots = w.slots
      from wrong w
      where p.access_key = w.access_key
    )
    select 'keypair ' || w.access_key,
           jsonb_build_object('compute_used', w.compute_used, 'system_used', w.system_used,
                              'occupied_slots', w.occupied_slots),
           jsonb_build_object('compute_used', w.compute, 'system_used', w.system,
                              'occupied_slots', w.slots)
    from wrong w
    order by w.access_key;
end;
$$;

comment on function occupancy.recalc_keys(text[]) is
  'Internal. Mends the sets of keys from their live sessions, then their counters from the sets '
  'and their slots from the live kernels.';
revoke all on function occupancy.recalc_keys(text[]) from public;
