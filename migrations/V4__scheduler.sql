-- compatibility: additive
--
-- The scheduler: sessions that wait, what became of them, and the types that its functions answer
-- with.

-- What a session holds is told by status alone, and so it is all that admission, release and audit
-- compare: PENDING nothing, RUNNING slot, quotas and agents, TERMINATING agents. Where an active
-- session stands on its way is told by stage; NULL: it was reserved without the queue. Apart from
-- that nothing changes for who does without the queue.
alter table occupancy.session
  drop constraint session_status_check,
  add constraint session_status_check
    check (status in ('PENDING', 'RUNNING', 'TERMINATING', 'TERMINATED', 'CANCELLED')),
  add column stage text
    check (stage in ('PENDING', 'SCHEDULED', 'PREPARING', 'PULLING', 'PREPARED', 'CREATING',
                     'RUNNING', 'ERROR'));

-- Half of each page stays free, so that a tick counts its tries in place (HOT): nothing that it
-- changes is indexed.
create table occupancy.queued_session (
  session_id      uuid primary key,
  access_key      text collate "C" not null,
  resource_group  text collate "C" not null,
  priority        integer not null check (priority between 0 and 100),
  position        bigint generated always as identity,
  enqueued_at     timestamptz not null,
  starts_at       timestamptz,
  cluster_mode    text not null check (cluster_mode in ('single-node', 'multi-node')),
  kernels         jsonb not null,
  total_slots     jsonb not null,
  agent_id        text collate "C",
  dependencies    uuid[] not null,
  tries           bigint not null default 0,
  tried_at        timestamptz,
  violations      jsonb
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
comment on table occupancy.queued_session is
  'One row per PENDING session: what it asks for (agent_id: where a single-node one must run), its '
  'place in the queue, and why the last tick that looked at it left it waiting.';
comment on sequence occupancy.queued_session_position_seq is
  'Places in the queue, in the order of coming.';
create index queued_session_group on occupancy.queued_session (resource_group, position);

create table occupancy.session_dependency (
  session_id  uuid not null,
  depends_on  uuid not null,
  primary key (session_id, depends_on)
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table occupancy.session_dependency is
  'What PENDING sessions wait for. A row goes when its session leaves the queue, or when the '
  'session that it waits for is forgotten after it ended with success.';
create index session_dependency_depends_on on occupancy.session_dependency (depends_on);

create table occupancy.queued_kernel (
  kernel_id   uuid primary key,
  session_id  uuid not null
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table occupancy.queued_kernel is
  'Kernel ids that callers gave to PENDING sessions, so that no two of them have the same.';
create index queued_kernel_session on occupancy.queued_kernel (session_id);

create table occupancy.key_queue (
  access_key  text collate "C" primary key,
  sessions    bigint not null,
  slots       jsonb not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
comment on table occupancy.key_queue is
  'How many PENDING compute sessions an access key has, and what they ask for together. Whoever '
  'changes a row holds that of the key in keypair, which stands for it in the lock order.';

create table occupancy.session_history (
  session_id   uuid not null,
  position     bigint generated always as identity,
  changed_at   timestamptz not null,
  from_status  text,
  to_status    text not null,
  reason       text,
  primary key (session_id, position)
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table occupancy.session_history is
  'Every change of state of a session that came through the queue, until it is pruned.';

comment on sequence occupancy.session_history_position_seq is
  'Positions of changes of state, in order.';

create table occupancy.scheduled_group (
  resource_group  text collate "C" primary key,
  last_agent      text collate "C",
  ticked_at       timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
comment on table occupancy.scheduled_group is
  'One row per resource group that was ever ticked. A tick holds it, so that ticks of one group '
  'take turns; last_agent is where roundrobin stopped.';

-- Answers ------------------------------------------------------------------------------------

create type occupancy.enqueuing as (
  session_id  uuid,
  outcome     text,
  code        text,
  message     text,
  violations  jsonb
);
comment on type occupancy.enqueuing is
  'Answer to a session that wants to wait. outcome: enqueued, already_enqueued or rejected.';

create type occupancy.scheduling as (
  session_id  uuid,
  outcome     text,
  code        text,
  message     text,
  violations  jsonb,
  kernels     jsonb
);
comment on type occupancy.scheduling is
  'What a tick made of one session. outcome: placed (kernels tells where) or waiting (code is the '
  'first of violations).';

create type occupancy.explanation as (
  session_id     uuid,
  status         text,
  waiting_since  timestamptz,
  tries          bigint,
  tried_at       timestamptz,
  code           text,
  message        text,
  scope          text,
  scope_id       text,
  slot           text,
  used           jsonb,
  requested      jsonb,
  max            jsonb,
  holders        jsonb,
  remedy         text
);
comment on type occupancy.explanation is
  'One thing that a PENDING session waits for at this moment: who holds it, the largest first, and '
  'what would let the session in. code NULL: nothing is in the way.';

create type occupancy.holding as (
  session_id    uuid,
  access_key    text,
  session_type  text,
  status        text,
  kernel_id     uuid,
  agent_id      text,
  slots         jsonb,
  since         timestamptz
);
comment on type occupancy.holding is 'One live kernel, whose it is and what it occupies since when.';

create type occupancy.transition as (
  session_id   uuid,
  outcome      text,
  from_status  text,
  to_status    text
);
comment on type occupancy.transition is
  'A change of a session''s state. outcome: changed, or unchanged where it was there already.';

create type occupancy.queued_kernels as (kernels jsonb, total jsonb, designated text);
comment on type occupancy.queued_kernels is
  'Internal. A kernels argument of the queue after its checks, the sum of all slots, and the last '
  'agent that one of them names.';

-- A tick in memory: arrays that refer to each other by position, from 1; 0 refers to nothing.

create type occupancy.tick_sessions as (
  ids          uuid[],
  priorities   integer[],
  blocked      boolean[],
  keys         integer[],
  owners       integer[],
  totals       integer[],
  first_parts  integer[],
  last_parts   integer[],
  heads        boolean[],
  nexts        integer[],
  part_shapes  integer[],
  part_agents  text[],
  shapes       jsonb[],
  owner_keys   text[],
  owner_system boolean[],
  owner_projects text[]
);
comment on type occupancy.tick_sessions is
  'Internal. The sessions that a tick looks at, in order. blocked: it must wait whatever room there '
  'is. totals: the shape of all that it asks for. A part is what must run on one agent: the whole '
  'session, or a kernel of a multi-node one; part_agents: the designated one. heads, nexts: whether '
  'it is the first of its key among its priority, and the one after it. An owner is a key, whether '
  'system sessions, and a project. Shapes: the distinct requests.';

create type occupancy.tick_shapes as (
  names         text[],
  first_slots   integer[],
  last_slots    integer[],
  slots         integer[],
  amounts       numeric[],
  families      integer[],
  floors        numeric[]
);
comment on type occupancy.tick_shapes is
  'Internal. The slots that a tick is asked for, accelerators first, then cpu, then mem; the slots '
  'and amounts of each shape; shapes with the same slots are a family, floors the least that any of '
  'it asks for.';

create type occupancy.tick_agents as (
  ids        text[],
  free       numeric[],
  ranks      numeric[],
  moves      numeric[],
  orders     integer[],
  firsts     integer[],
  lasts      integer[],
  start      integer
);
comment on type occupancy.tick_agents is
  'Internal. The agents that may be given anything, by id; free: of each slot. For each family: the '
  'rank of every agent, the least first; by how much a shape placed on it moves that; and those '
  'with room for the least of the family, ordered. start: where roundrobin goes on.';

create type occupancy.tick_counters as (
  owner_counters  integer[],
  codes           text[],
  scopes          text[],
  ids             text[],
  limited         boolean[],
  used            numeric[],
  max             numeric[],
  slots_used      numeric[],
  slots_max       numeric[],
  shares          numeric[],
  capacity        numeric[]
);
comment on type occupancy.tick_counters is
  'Internal. What a tick compares: five counters per owner (its key, then its quotas), each with '
  'sessions and slots used and allowed; the dominant share of each key; the capacity of the '
  'group.';

create type occupancy.tick_decision as (
  looked        integer[],
  placed        boolean[],
  part_agents   integer[],
  last_agent    integer,
  v_session     integer[],
  v_position    integer[],
  v_counter     integer[],
  v_slot        integer[],
  v_used        numeric[],
  v_requested   numeric[],
  v_shape       integer[]
);
comment on type occupancy.tick_decision is
  'Internal. Which sessions a tick looked at, in order; which it places, and where each part goes; '
  'and every comparison that failed (v_).';
