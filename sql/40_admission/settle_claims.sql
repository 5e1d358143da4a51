create or replace function occupancy.settle_claims(
  claimed uuid[],
  admitted occupancy.asked_session[],
  corrected boolean
)
returns void
language plpgsql volatile
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
begin
  if cardinality(admitted) < cardinality(claimed) then
    declare
      withdrawn constant uuid[] := array(
        select unnest(claimed) except select a.session_id from unnest(admitted) as a);
    begin
      delete from occupancy.session_concurrency c where c.session_id = any (withdrawn);
      delete from occupancy.session s where s.session_id = any (withdrawn);
    end;
  end if;
  if corrected then
    update occupancy.session_concurrency c
    set access_key = a.access_key, system = a.session_type = 'system'
    from unnest(admitted) as a
    where c.session_id = a.session_id and c.session_id = any (claimed)
      and (c.access_key, c.system) <> (a.access_key, a.session_type = 'system');
    update occupancy.session s
    set access_key = a.access_key, session_type = a.session_type, user_id = a.user_id,
        project = a.project, resource_group = a.resource_group, domain = a.domain
    from unnest(admitted) as a
    where s.session_id = a.session_id and s.session_id = any (claimed)
      and (s.access_key, s.session_type, s.user_id, s.project, s.resource_group, s.domain)
          is distinct from
          (a.access_key, a.session_type, a.user_id, a.project, a.resource_group, a.domain);
  end if;
end;
$$;

comment on function occupancy.settle_claims(uuid[], occupancy.asked_session[], boolean) is
  'Internal. Withdraws the claims of a batch, and the slots, whose sessions are not admitted. corrected: some of the '
  'others may have been made for another session with the same id, or before a key or an agent '
  'changed hands.';
revoke all on function occupancy.settle_claims(uuid[], occupancy.asked_session[], boolean)
  from public;
