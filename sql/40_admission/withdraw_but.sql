create or replace function occupancy.withdraw_but(
  requests occupancy.request[],
  claimed uuid[],
  kept bigint[]
)
returns void
language plpgsql volatile
as $$
begin
  delete from occupancy.session s
  where s.session_id = any (array(
    select unnest(claimed)
    except
    select r.session_id
    from unnest(requests) with ordinality as r (
      session_id, access_key, session_type, project, placed, refusal, position)
    where r.position = any (kept)));
end;
$$;

comment on function occupancy.withdraw_but(occupancy.request[], uuid[], bigint[]) is
  'Internal. Gives back the claims of a batch but for those of the requests at the positions.';
revoke all on function occupancy.withdraw_but(occupancy.request[], uuid[], bigint[]) from public;
