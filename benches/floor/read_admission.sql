-- The least that an answer of the database can cost: one row read by its primary key.
create function floor.read_admission(session_id uuid, access_key text)
returns occupancy.admission
language plpgsql volatile security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  used bigint;
begin
  select k.compute_used into used
  from occupancy.keypair k
  where k.access_key = read_admission.access_key;
  return row(session_id, 'rejected', null, null, access_key, used, null, null, null)
    ::occupancy.admission;
end;
$$;
