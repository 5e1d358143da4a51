-- compatibility: additive
--
-- A batch is decided as a whole, from arrays of plain rows, instead of request by request.

drop routine if exists
  occupancy.admit_together(occupancy.request[], bigint[], occupancy.demand[]),
  occupancy.admit_uncontested(occupancy.request[], uuid[]),
  occupancy.batch_demand(occupancy.request[], bigint[]),
  occupancy.charges_of(uuid[]),
  occupancy.contested(occupancy.demand[]),
  occupancy.counted(occupancy.request[], occupancy.admission[], occupancy.concurrency_count[]),
  occupancy.counts_of(occupancy.request[]),
  occupancy.lock_for_requests(occupancy.request[]),
  occupancy.lock_quotas(occupancy.quota_name[]),
  occupancy.parse_request(jsonb),
  occupancy.parse_requests(jsonb),
  occupancy.refuse_missing(occupancy.request[], uuid[], text[], text[]),
  occupancy.reserve_in_turn(occupancy.request, boolean),
  occupancy.uncharge_sessions(uuid[]),
  occupancy.uncontested_requests(occupancy.request[], uuid[], occupancy.demand[]),
  occupancy.withdraw_but(occupancy.request[], uuid[], bigint[]);
drop type occupancy.request, occupancy.demand, occupancy.quota_name, occupancy.charge;

create type occupancy.asked_session as (
  position        integer,
  session_id      uuid,
  access_key      text,
  session_type    text,
  project         text,
  user_id         text,
  resource_group  text,
  domain          text,
  kernel_count    integer,
  agent_id        text,
  answer          jsonb,
  code            text,
  message         text
);
comment on type occupancy.asked_session is
  'Internal. An element of a batch after its checks, at its position. user_id to domain: to whom '
  'it is charged. kernel_count: how many; agent_id: of one of them; answer: all, as an answer lists '
  'them. code, message: why it is refused if its id is new; NULL if it is not.';

create type occupancy.asked_kernel as (
  session       integer,
  position      integer,
  session_id    uuid,
  kernel_id     uuid,
  id_generated  boolean,
  agent_id      text,
  slots         jsonb
);
comment on type occupancy.asked_kernel is
  'Internal. A kernel of the session at a position of a batch.';

create type occupancy.key_owner as (access_key text, user_id text, domain text);
comment on type occupancy.key_owner is 'Internal. To whom sessions of a key are charged.';

create type occupancy.agent_group as (agent_id text, resource_group text);
comment on type occupancy.agent_group is 'Internal. To which group sessions on an agent are charged.';

create type occupancy.batch as (
  sessions  occupancy.asked_session[],
  kernels   occupancy.asked_kernel[],
  answers   occupancy.admission[]
);
comment on type occupancy.batch is
  'Internal. What is asked for together, each session with its kernels, and by position the '
  'answers that are known already.';

create type occupancy.counter as (
  kind   text,
  id     text,
  slot   text,
  used   numeric,
  asked  numeric,
  max    numeric
);
comment on type occupancy.counter is
  'Internal. Something that sessions use up, with what a batch asks of it in all: of a keypair '
  '(compute) or its system class, a quota by its scope, or an agent; slot NULL is the number of '
  'sessions. Conditions that use nothing up are written the same way: key_inactive, '
  'kernels_per_session, agent_unavailable; and the kernel ids that are in doubt.';

create type occupancy.doubt as (
  position    integer,
  session_id  uuid,
  access_key  text,
  code        text,
  message     text,
  answer      jsonb,
  first       integer,
  content     jsonb,
  counters    integer[],
  requested   numeric[]
);
comment on type occupancy.doubt is
  'Internal. A session of a batch that is not admitted for certain. first: the first position with '
  'its id; content: what a repetition has to agree in, where the id is repeated; counters, '
  'requested: the obstacles that it meets, by their numbers, and what it asks of each.';
