create or replace function occupancy.is_plain_uuid(written text)
returns boolean
language sql immutable parallel safe
-- A regular expression would be compiled anew, state by state, for each text.
return written like '________-____-____-____-____________'
  and translate(written, '0123456789abcdefABCDEF', '') = '----';

comment on function occupancy.is_plain_uuid(text) is
  'Internal. Whether a text is a UUID in the form that nearly everybody writes: the cheaper part '
  'of is_uuid.';
revoke all on function occupancy.is_plain_uuid(text) from public;
