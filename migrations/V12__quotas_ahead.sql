-- compatibility: additive
--
-- What a reservation sees of its quotas before it locks them, and what is retired by it.

create type occupancy.seen_quota as (
  scope     text,
  scope_id  text,
  version   xid,
  charged   jsonb
);
comment on type occupancy.seen_quota is
  'Internal. A quota before it is locked: which version of its row, and what it will have occupied '
  'with a session to be admitted, NULL if that does not fit or its number of sessions is reached.';

drop function if exists occupancy.reserve(
  uuid, text, text, text, occupancy.placement, bigint, boolean);
drop function if exists occupancy.quotas_ahead(text, text, text, text, text, jsonb);
drop function if exists occupancy.charge_quotas_if(boolean, text, text, text, text, jsonb);
drop function if exists occupancy.read_key(uuid, text, text);
drop type occupancy.quota_outlook;
drop type occupancy.key_context;
