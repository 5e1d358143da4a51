create or replace function occupancy.keys_of_queue(access_key text)
returns text[]
language sql stable
as $$
  select array(
    select keys_of_queue.access_key
    union
    select s.access_key
    from occupancy.queued_session q
    join occupancy.session s on s.session_id = q.session_id
    where q.access_key = keys_of_queue.access_key and s.access_key is not null);
$$;

comment on function occupancy.keys_of_queue(text) is
  'Internal. A key, and those whose sessions somebody put into its queue.';
revoke all on function occupancy.keys_of_queue(text) from public;
