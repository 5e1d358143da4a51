create or replace function occupancy.line_of_keys(
  resource_group text,
  max_sessions integer,
  tries integer
)
returns table (
  session_id uuid,
  access_key text,
  priority integer,
  place bigint,
  request bytea,
  gated boolean,
  reason_id bigint,
  tries_apart bigint
)
language sql stable
as $$
  select l.session_id, l.access_key, l.priority,
         case when l.line <= max_sessions then l.position else 9223372036854775807 end,
         l.request, l.gated, l.reason_id, l.tries_apart
  from (
    select t.*, row_number() over (order by t.priority desc, t.turn, t.aside, t.position) as line
    from (
      select q.*, row_number() over (
               partition by q.priority, q.access_key order by q.aside, q.position) as turn
      from (
        select q.session_id, q.access_key, q.priority, q.position, q.request, q.gated, q.reason_id,
               q.tries_apart,
               case when line_of_keys.tries > 0 and r.tries + q.tries_apart >= line_of_keys.tries
                    then r.tried_at else '-infinity' end as aside
        from occupancy.queued_session q
        left join occupancy.queued_reason r on r.reason_id = q.reason_id
        where q.resource_group = line_of_keys.resource_group
      ) as q
    ) as t
  ) as l
  where l.line <= max_sessions + 1;
$$;

comment on function occupancy.line_of_keys(text, integer, integer) is
  'Internal. Those of a queue that a tick looks at where keys are to have equal shares, and one more '
  'at the last place if there are more: of each key in turn the first, so that no key keeps the '
  'others out by how many it lets wait, nor by what has no room.';
revoke all on function occupancy.line_of_keys(text, integer, integer) from public;
