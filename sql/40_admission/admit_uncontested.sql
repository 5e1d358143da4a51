create or replace function occupancy.admit_uncontested(
  requests occupancy.request[],
  claimed uuid[]
)
returns bigint[]
language plpgsql volatile
as $$
declare
  demands occupancy.demand[] := array(select d from occupancy.batch_demand(requests) as d);
  positions constant bigint[] := occupancy.uncontested_requests(requests, claimed, demands);
begin
  if cardinality(positions) < cardinality(requests) then
    demands := array(select d from occupancy.batch_demand(requests, positions) as d);
  end if;
  perform occupancy.admit_together(requests, positions, demands);
  return positions;
end;
$$;

comment on function occupancy.admit_uncontested(occupancy.request[], uuid[]) is
  'Internal. Admits the requests of a batch that are in nobody''s way; returns their positions.';
revoke all on function occupancy.admit_uncontested(occupancy.request[], uuid[]) from public;
