create or replace function occupancy.require_fresh_snapshots()
returns boolean
language plpgsql stable parallel safe
as $$
begin
  if not occupancy.fresh_snapshots() then
    raise exception 'this function counts, which an old snapshot makes wrong'
      using errcode = 'OC008', detail = current_setting('transaction_isolation'),
            hint = 'call it in a READ COMMITTED transaction';
  end if;
  return true;
end;
$$;

comment on function occupancy.require_fresh_snapshots() is
  'Internal. Refuses (OC008) a transaction whose snapshot is older than the locks it will take.';
revoke all on function occupancy.require_fresh_snapshots() from public;
