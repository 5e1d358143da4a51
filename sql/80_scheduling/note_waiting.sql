create or replace function occupancy.note_waiting(
  resource_group text,
  sessions occupancy.tick_sessions,
  verdicts integer[],
  words jsonb[],
  whole boolean
)
returns void
language plpgsql volatile
-- What is joined here are arrays, of which the planner does not know how long they are.
set enable_nestloop = off
as $$
declare
  -- One for all: who steps aside goes on in the order of coming.
  moment constant timestamptz := occupancy.clock();
  kept bigint[];
  unused bigint[];
  targets bigint[];
  moved uuid[];
  moved_to bigint[];
  moved_tries bigint[];
begin
  -- A reason goes on if all that are left with it were looked at: for the one thing that most of
  -- them wait for. Where several wait for that, one goes on for all.
  with groups as materialized (
    select s.reason_id, s.verdict, count(*) as sessions
    from unnest(sessions.reasons, verdicts) as s (reason_id, verdict)
    where s.verdict > 0
    group by s.reason_id, s.verdict
  ), looked as (
    select g.reason_id, sum(g.sessions) as sessions from groups g group by g.reason_id
  ), remaining as (
    select q.reason_id, count(*) as sessions
    from occupancy.queued_session q
    where not whole and q.resource_group = note_waiting.resource_group
    group by q.reason_id
  ), free as materialized (
    select r.reason_id
    from occupancy.queued_reason r
    left join looked l on l.reason_id = r.reason_id
    left join remaining m on m.reason_id = r.reason_id
    where r.resource_group = note_waiting.resource_group
      and (whole or coalesce(l.sessions, 0) = coalesce(m.sessions, 0))
  ), homes as (
    select distinct on (g.reason_id) g.*
    from groups g
    join free f on f.reason_id = g.reason_id
    order by g.reason_id, g.sessions desc, g.verdict
  ), heirs as materialized (
    select distinct on (h.verdict) h.verdict, h.reason_id
    from homes h
    order by h.verdict, h.sessions desc, h.reason_id
  )
  select array_agg(h.reason_id order by w.verdict),
         array(select f.reason_id from free f except select h.reason_id from heirs h)
  into kept, unused
  from generate_series(1, cardinality(words)) as w (verdict)
  left join heirs h on h.verdict = w.verdict;

  targets := array(
    select coalesce(k.reason_id, nextval('occupancy.queued_reason_reason_id_seq'))
    from unnest(kept) with ordinality as k (reason_id, verdict)
    order by k.verdict);
  select array_agg(s.session_id), array_agg(targets[s.verdict]),
         array_agg(coalesce(was.tries, 0) - coalesce(becomes.tries, 0))
  into moved, moved_to, moved_tries
  from unnest(sessions.ids, sessions.reasons, verdicts) as s (session_id, reason_id, verdict)
  left join occupancy.queued_reason was on was.reason_id = s.reason_id
  left join occupancy.queued_reason becomes on becomes.reason_id = targets[s.verdict]
  where s.verdict > 0 and s.reason_id is distinct from targets[s.verdict];
  update occupancy.queued_session q
  set reason_id = m.reason_id, tries_apart = q.tries_apart + m.tries
  from unnest(moved, moved_to, moved_tries) as m (session_id, reason_id, tries)
  where q.session_id = any (moved) and q.session_id = m.session_id;

  insert into occupancy.queued_reason as r (reason_id, resource_group, tries, tried_at, violations)
  select t.reason_id, note_waiting.resource_group, 1, moment, t.violations
  from unnest(targets, words) as t (reason_id, violations)
  on conflict (reason_id) do update
  set tries = r.tries + 1, tried_at = excluded.tried_at, violations = excluded.violations;
  delete from occupancy.queued_reason r where r.reason_id = any (unused);
end;
$$;

comment on function occupancy.note_waiting(
  text, occupancy.tick_sessions, integer[], jsonb[], boolean
) is
  'Internal. Writes why the sessions of a tick wait, of each the number of its words (0: it does '
  'not). Only what differs from the tick before is written for a session. whole: all that wait were '
  'looked at.';
revoke all on function occupancy.note_waiting(
  text, occupancy.tick_sessions, integer[], jsonb[], boolean
) from public;
