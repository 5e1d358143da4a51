-- compatibility: additive
--
-- Holders: managers that answer for a session until it is confirmed to run.

-- One row for every start of a manager. Half of each page stays free, so that a beat is written in
-- place (HOT).
create table occupancy.manager (
  manager        text collate "C" not null,
  epoch          bigint generated always as identity,
  ttl            interval not null,
  grace          interval not null,
  registered_at  timestamptz not null,
  beat_at        timestamptz not null,
  fenced_at      timestamptz,
  primary key (manager, epoch),
  -- Being fenced changes a key, a beat does not: a lock FOR KEY SHARE by a caller with an old
  -- snapshot notices the former and lets the latter pass.
  unique (epoch, fenced_at)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
comment on table occupancy.manager is
  'Every start of a manager that is remembered: its epoch, when it last beat, and since when a '
  'newer start has fenced it.';
comment on sequence occupancy.manager_epoch_seq is
  'Epochs of all managers: a later start has a higher one, whatever was pruned since.';
create unique index manager_current on occupancy.manager (manager) where fenced_at is null;

-- In the row that every ending locks anyway: whoever uses no holder pays for none.
alter table occupancy.session
  add column holder_epoch  bigint,
  add column confirmed_at  timestamptz,
  add column reclaimed_at  timestamptz;
comment on column occupancy.session.holder_epoch is
  'The start of a manager that answers for the session until it is confirmed; NULL = no lease.';
create index session_held on occupancy.session (holder_epoch)
  where holder_epoch is not null and ended_at is null;

-- Answers.

create type occupancy.holder as (manager text, epoch bigint);
comment on type occupancy.holder is
  'A start of a manager. Its calls name both; a later start of the same manager fences it.';

create type occupancy.beat as (manager text, epoch bigint, outcome text);
comment on type occupancy.beat is
  'Answer to a heartbeat. outcome: alive, or recovered where the ttl had run out before.';

create type occupancy.reclamation as (session_id uuid, manager text, epoch bigint);
comment on type occupancy.reclamation is 'A session that was freed, and who had held it.';

create type occupancy.lost_agent as (agent_id text, heartbeat_at timestamptz);
comment on type occupancy.lost_agent is 'An agent that became LOST, and its last heartbeat.';

create type occupancy.manager_detail as (
  manager        text,
  epoch          bigint,
  status         text,
  ttl            interval,
  grace          interval,
  registered_at  timestamptz,
  beat_at        timestamptz,
  fenced_at      timestamptz,
  sessions       bigint
);
comment on type occupancy.manager_detail is
  'A start of a manager. status: ALIVE, SUSPECT (silent for its ttl), EXPIRED (and for its grace '
  'period) or FENCED (a newer start has its name). sessions: how many it holds.';

create type occupancy.lease_detail as (
  session_id  uuid,
  status      text,
  access_key  text,
  manager     text,
  epoch       bigint,
  state       text,
  created_at  timestamptz,
  suspect_at  timestamptz,
  expires_at  timestamptz
);
comment on type occupancy.lease_detail is
  'A session that is not confirmed, and who holds it. state: held, suspect (its holder is silent '
  'or fenced, since suspect_at) or expired (free for reclaim_expired, since expires_at).';

-- Retired signatures: their successors take a holder as well.
drop function if exists occupancy.reserve_session(uuid, text, jsonb, text, text);
drop function if exists occupancy.release_session(uuid);
drop function if exists occupancy.release_sessions(uuid[]);
drop function if exists occupancy.release_kernel(uuid);
drop function if exists occupancy.terminate_session(uuid);
drop function if exists occupancy.settle_kernel(uuid, jsonb);
