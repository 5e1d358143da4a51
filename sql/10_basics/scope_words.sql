create or replace function occupancy.scope_words(scope text)
returns text
language sql immutable parallel safe
return case scope when 'keypair' then 'access key' else replace(scope, '_', ' ') end;

comment on function occupancy.scope_words(text) is 'Internal. A scope as messages call it.';
revoke all on function occupancy.scope_words(text) from public;
