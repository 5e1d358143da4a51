create or replace function occupancy.error_codes()
returns setof occupancy.error_code
language sql immutable parallel safe
set search_path = pg_catalog, occupancy, pg_temp
begin atomic
  select code, name, meaning
  from (values
    ('OC001', 'invalid_slots', 'a resource slots value is malformed'),
    ('OC002', 'unknown_access_key', 'no such access key is registered'),
    ('OC003', 'unknown_agent', 'no such agent is registered'),
    ('OC004', 'unknown_session_or_kernel', 'no such session or kernel, where one must exist'),
    ('OC005', 'invalid_argument', 'an argument is missing, too long or not a known word'),
    ('OC006', 'conflicting_reservation',
     'the session id lives with another content, or a kernel id with another session'),
    ('OC007', 'illegal_transition', 'the session cannot change to that state from its present one'),
    ('OC008', 'unsupported_isolation',
     'the isolation level of the transaction could make the answer wrong'),
    ('OC009', 'fenced', 'a newer holder has taken over'),
    ('OC010', 'invariant_broken', 'a stored number contradicts the ledger')
  ) as codes (code, name, meaning);
end;

comment on function occupancy.error_codes() is
  'Every SQLSTATE that the functions of this schema raise by themselves, with its name and '
  'meaning. All of them are mistakes of the caller, but for OC010; none leaves anything half done.';
revoke all on function occupancy.error_codes() from public;
grant execute on function occupancy.error_codes() to occupancy_viewer;
