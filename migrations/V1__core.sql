-- compatibility: additive
--
-- The core: registry, ledger and the types that functions answer with.
--
-- Names sort by byte (collate "C"): the lock order is the order of these columns, and it must be
-- the same for every client whatever its locale.
--
-- Slots are stored as the interface shows them: a jsonb object from slot name to an exact decimal
-- as a string without exponent, trailing zeros or zero entries.

-- Registry: limits ---------------------------------------------------------------------------

create table occupancy.resource_policy (
  name                            text collate "C" primary key,
  max_concurrent_sessions         bigint check (max_concurrent_sessions >= 0),
  max_concurrent_system_sessions  bigint check (max_concurrent_system_sessions >= 0),
  total_resource_slots            jsonb,
  default_for_unspecified         text not null
                                  check (default_for_unspecified in ('LIMITED', 'UNLIMITED')),
  max_pending_sessions            bigint check (max_pending_sessions >= 0),
  max_pending_resource_slots      jsonb,
  max_kernels_per_session         bigint check (max_kernels_per_session >= 0)
);
comment on table occupancy.resource_policy is
  'Limits that keypairs share. NULL = unlimited, 0 = none at all.';

-- Half of each page stays free, so that the hot counters are updated in place (HOT).
create table occupancy.keypair (
  access_key       text collate "C" primary key,
  user_id          text collate "C" not null,
  domain           text collate "C",
  resource_policy  text collate "C" not null references occupancy.resource_policy (name),
  is_active        boolean not null,
  compute_used     bigint not null default 0,
  system_used      bigint not null default 0,
  occupied_slots   jsonb not null default '{}'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
comment on table occupancy.keypair is
  'Access keys with their present use: rows in session_concurrency per class, and the slots of '
  'their active compute sessions.';
create index keypair_resource_policy on occupancy.keypair (resource_policy);

create table occupancy.quota (
  scope                    text collate "C" not null
                           check (scope in ('user', 'project', 'resource_group', 'domain')),
  scope_id                 text collate "C" not null,
  max_concurrent_sessions  bigint check (max_concurrent_sessions >= 0),
  total_resource_slots     jsonb,
  default_for_unspecified  text not null
                           check (default_for_unspecified in ('LIMITED', 'UNLIMITED')),
  used                     bigint not null default 0,
  occupied_slots           jsonb not null default '{}',
  -- In this order, since a session is looked up by the few ids that it could be charged to.
  primary key (scope_id, scope)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
comment on table occupancy.quota is
  'Limits beyond the keypair, with their present use. A row keeps its use even where it limits '
  'nothing; a row that is created counts the sessions that live already.';

create table occupancy.agent (
  agent_id         text collate "C" primary key,
  resource_group   text collate "C" not null,
  status           text not null check (status in ('ALIVE', 'LOST', 'RESTARTING', 'TERMINATED')),
  schedulable      boolean not null,
  available_slots  jsonb not null,
  occupied_slots   jsonb not null default '{}',
  heartbeat_at     timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
comment on table occupancy.agent is
  'Nodes with their capacity and what their live kernels occupy.';

-- A caller whose snapshot is older than a change of limits cannot see that change. It locks this
-- row, which every such change updates, and is told to start over (40001).
create table occupancy.limits_version (
  singleton  boolean primary key default true check (singleton),
  version    bigint not null
);
comment on table occupancy.limits_version is
  'Counts changes of policies and creations of quotas, for callers with an old snapshot.';
insert into occupancy.limits_version (version) values (0);

-- Ledger -------------------------------------------------------------------------------------

-- One row per id, live or ended: two tables would reopen the race between a release and a late
-- reservation. access_key is NULL where an id was released before it was ever reserved.
create table occupancy.session (
  session_id      uuid primary key,
  status          text not null
                  check (status in ('RUNNING', 'TERMINATING', 'TERMINATED', 'CANCELLED')),
  access_key      text collate "C",
  session_type    text check (session_type in ('interactive', 'batch', 'inference', 'system')),
  user_id         text collate "C",
  project         text collate "C",
  resource_group  text collate "C",
  domain          text collate "C",
  created_at      timestamptz not null,
  terminating_at  timestamptz,
  ended_at        timestamptz,
  check ((ended_at is not null) = (status in ('TERMINATED', 'CANCELLED'))),
  check (access_key is not null or status = 'CANCELLED')
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table occupancy.session is
  'Every session that lives or is remembered, with the scopes that it is charged to, fixed when '
  'it was admitted.';
create index session_live on occupancy.session (access_key) where ended_at is null;
create index session_ended on occupancy.session (ended_at) where ended_at is not null;

create table occupancy.session_concurrency (
  access_key  text collate "C" not null,
  session_id  uuid not null,
  system      boolean not null,
  unique (access_key, session_id),
  unique (session_id)
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table occupancy.session_concurrency is
  'Who has a concurrency slot: one row per active session. keypair.compute_used and system_used '
  'equal the number of these rows per class.';

create table occupancy.kernel (
  kernel_id        uuid primary key,
  session_id       uuid not null,
  position         integer not null,
  id_generated     boolean not null,
  agent_id         text collate "C" not null,
  requested_slots  jsonb not null,
  settled_slots    jsonb,
  ended_at         timestamptz
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table occupancy.kernel is
  'The containers of sessions. A live one occupies settled_slots, or requested_slots as long as '
  'the agent has not reported.';
create index kernel_session on occupancy.kernel (session_id);
create index kernel_live on occupancy.kernel (agent_id) where ended_at is null;

-- Answers ------------------------------------------------------------------------------------

create type occupancy.admission as (
  session_id  uuid,
  outcome     text,
  code        text,
  message     text,
  access_key  text,
  used        bigint,
  max         bigint,
  violations  jsonb,
  kernels     jsonb
);
comment on type occupancy.admission is
  'Answer to a reservation. outcome: admitted, already_admitted, rejected, in a batch also '
  'invalid. used, max: sessions of that class the key runs now, and its limit (NULL = unlimited).';

create type occupancy.predicate as (
  predicate  text,
  passed     boolean,
  code       text,
  message    text,
  used       jsonb,
  requested  jsonb,
  max        jsonb,
  scope      text,
  scope_id   text
);
comment on type occupancy.predicate is
  'One condition of an admission for one subject; amounts are a number of sessions or kernels, or '
  'an object of slots.';

create type occupancy.fact as (
  position   integer,
  code       text,
  scope      text,
  scope_id   text,
  slot       text,
  used       numeric,
  requested  numeric,
  max        numeric,
  passed     boolean
);
comment on type occupancy.fact is
  'Internal. One comparison behind a predicate: a count where slot is NULL, else an amount.';

create type occupancy.placement as (
  kernel_ids    uuid[],
  id_generated  boolean[],
  agents        text[],
  slots         jsonb[],
  agent_ids     text[],
  agent_slots   jsonb[],
  total         jsonb
);
comment on type occupancy.placement is
  'Internal. A kernels argument after its checks: one element per kernel in kernel_ids to slots, '
  'one per agent, sorted, in agent_ids and agent_slots, and the sum of all slots.';

create type occupancy.charge as (
  session_id      uuid,
  access_key      text,
  system          boolean,
  user_id         text,
  project         text,
  resource_group  text,
  domain          text,
  slots           jsonb
);
comment on type occupancy.charge is
  'Internal. What an active session is charged with, and to whom.';

create type occupancy.key_total as (
  access_key  text,
  compute     bigint,
  system      bigint,
  slots       jsonb
);
comment on type occupancy.key_total is 'Internal. What the counters of a key must be.';

create type occupancy.quota_name as (scope text, scope_id text);
comment on type occupancy.quota_name is 'Internal. Which quota.';

create type occupancy.request as (
  session_id    uuid,
  access_key    text,
  session_type  text,
  project       text,
  placed        occupancy.placement,
  refusal       occupancy.admission
);
comment on type occupancy.request is
  'Internal. An element of a batch after its checks, or with a mistake its refusal alone.';

create type occupancy.demand as (kind text, id text, slot text, amount numeric);
comment on type occupancy.demand is
  'Internal. What a batch asks of one counter: of an agent, a keypair (compute) or its system '
  'class, or a quota by its scope; slot NULL is the number of sessions.';

create type occupancy.key_context as (
  session_status           text,
  user_id                  text,
  domain                   text,
  resource_policy          text,
  is_active                boolean,
  used                     bigint,
  max                      bigint,
  max_kernels_per_session  bigint,
  occupied_slots           jsonb,
  total_resource_slots     jsonb,
  default_for_unspecified  text
);
comment on type occupancy.key_context is
  'Internal. The id and the key of a reservation before anything is locked: the id''s present '
  'status; the key with its limits, used and max for the class of the session.';

create type occupancy.quota_outlook as (present boolean, fit boolean);
comment on type occupancy.quota_outlook is
  'Internal. Whether quotas apply to a reservation, and whether it fits in all of them.';

create type occupancy.session_outcome as (session_id uuid, outcome text);
comment on type occupancy.session_outcome is 'What became of one session id.';

create type occupancy.kernel_outcome as (
  kernel_id      uuid,
  session_id     uuid,
  outcome        text,
  session_ended  boolean
);
comment on type occupancy.kernel_outcome is
  'What became of one kernel; session_ended: it was the last one of its session.';

create type occupancy.settlement as (kernel_id uuid, session_id uuid, outcome text);
comment on type occupancy.settlement is 'What became of a report of really allotted slots.';

create type occupancy.registration as (outcome text);
comment on type occupancy.registration is
  'Answer of the registry. put: created or replaced. drop: dropped, in_use or unknown.';

create type occupancy.concurrency_count as (
  access_key    text,
  compute_used  bigint,
  compute_max   bigint,
  system_used   bigint,
  system_max    bigint
);
comment on type occupancy.concurrency_count is
  'How many sessions an access key runs, per class, and its limits (NULL = unlimited).';

create type occupancy.session_detail as (
  session_id      uuid,
  status          text,
  access_key      text,
  session_type    text,
  user_id         text,
  project         text,
  resource_group  text,
  domain          text,
  kernels         jsonb,
  created_at      timestamptz,
  terminating_at  timestamptz,
  ended_at        timestamptz
);
comment on type occupancy.session_detail is
  'A session with its kernels: kernel_id, agent, slots (what it occupies or last occupied), '
  'ended_at (NULL = live).';

create type occupancy.correction as (subject text, before jsonb, after jsonb);
comment on type occupancy.correction is 'One number that a recalculation changed.';

create type occupancy.finding as (invariant text, subject text, expected text, actual text);
comment on type occupancy.finding is 'One broken invariant.';

create type occupancy.error_code as (code text, name text, meaning text);
comment on type occupancy.error_code is 'An SQLSTATE of ours.';
