create or replace function occupancy.recalc_queues(access_keys text[])
returns setof occupancy.correction
language plpgsql volatile
as $$
begin
  -- Whoever changes the queue of a key holds the key, so that what follows sees all of it and
  -- nothing half done.
  perform from occupancy.keypair k
  where k.access_key = any (access_keys)
  order by k.access_key for no key update;

  return query
    with strays as (
      delete from occupancy.queued_session q
      where q.access_key = any (access_keys)
        and not exists (
          select from occupancy.session s
          where s.session_id = q.session_id and s.status = 'PENDING')
      returning q.*
    )
    select 'queued_session ' || d.session_id, to_jsonb(d), null::jsonb from strays d;
  return query
    with misplaced as (
      select q.session_id, q.access_key as old_key, q.resource_group as old_group, s.access_key,
             s.resource_group
      from occupancy.queued_session q
      join occupancy.session s on s.session_id = q.session_id
      where q.access_key = any (access_keys)
        and (s.access_key, s.resource_group) <> (q.access_key, q.resource_group)
    ), moved as (
      update occupancy.queued_session q
      set access_key = m.access_key, resource_group = m.resource_group
      from misplaced m
      where q.session_id = m.session_id
    )
    select 'queued_session ' || m.session_id,
           jsonb_build_object('access_key', m.old_key, 'resource_group', m.old_group),
           jsonb_build_object('access_key', m.access_key, 'resource_group', m.resource_group)
    from misplaced m;
  -- What is kept for sessions that wait, and outlived them. Nobody's is everybody's to clear away.
  return query
    with strays as (
      delete from occupancy.queued_kernel k
      where k.kernel_id = any (array(
        select t.kernel_id from occupancy.queued_kernel t
        left join occupancy.session s on s.session_id = t.session_id
        where s.status is distinct from 'PENDING'
          and coalesce(s.access_key = any (access_keys), true)))
      returning k.*
    )
    select 'queued_kernel ' || d.kernel_id, to_jsonb(d), null::jsonb from strays d;
  return query
    with strays as (
      delete from occupancy.session_dependency d
      where d.session_id = any (array(
        select t.session_id from occupancy.session_dependency t
        left join occupancy.session s on s.session_id = t.session_id
        where s.status is distinct from 'PENDING'
          and coalesce(s.access_key = any (access_keys), true)))
      returning d.*
    )
    select format('session_dependency %s %s', d.session_id, d.depends_on), to_jsonb(d), null::jsonb
    from strays d;

  return query
    with missing as (
      insert into occupancy.key_queue (access_key, sessions, slots)
      select k.access_key, t.sessions, t.slots
      from (
        select distinct s.access_key from occupancy.session s
        where s.access_key = any (access_keys) and s.ended_at is null and s.status = 'PENDING'
          and not exists (
            select from occupancy.key_queue q where q.access_key = s.access_key)
      ) as k
      cross join lateral occupancy.queue_use(k.access_key) as t
      order by k.access_key
      on conflict do nothing
      returning *
    )
    select 'queue of keypair ' || m.access_key, null::jsonb, to_jsonb(m) from missing m;
  return query
    with wrong as (
      select q.access_key, q.sessions as old_sessions, q.slots as old_slots, t.sessions, t.slots
      from occupancy.key_queue q
      cross join lateral occupancy.queue_use(q.access_key) as t
      where q.access_key = any (access_keys)
        and (q.sessions, q.slots) is distinct from (t.sessions, t.slots)
    ), mended as (
      update occupancy.key_queue q set sessions = w.sessions, slots = w.slots
      from wrong w
      where q.access_key = w.access_key
    )
    select 'queue of keypair ' || w.access_key,
           jsonb_build_object('sessions', w.old_sessions, 'slots', w.old_slots),
           jsonb_build_object('sessions', w.sessions, 'slots', w.slots)
    from wrong w
    order by w.access_key;
end;
$$;

comment on function occupancy.recalc_queues(text[]) is
  'Internal. Mends the queues of keys from their PENDING sessions: places that no such session has, '
  'what is kept for them, then the counts.';
revoke all on function occupancy.recalc_queues(text[]) from public;
