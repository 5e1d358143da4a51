create or replace function occupancy.is_uuid(written text)
returns boolean
language sql immutable parallel safe
return occupancy.is_plain_uuid(written)
  or written ~* '^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$';

comment on function occupancy.is_uuid(text) is
  'Internal. Whether a text is a UUID as clients print it. The server''s cast accepts more, and '
  'raises its own error.';
revoke all on function occupancy.is_uuid(text) from public;
