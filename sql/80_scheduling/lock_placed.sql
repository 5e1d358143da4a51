create or replace function occupancy.lock_placed(placed_ids uuid[])
returns uuid[]
language plpgsql volatile
as $$
declare
  held constant uuid[] := array(
    select s.session_id
    from occupancy.session s
    where s.status = 'PENDING' and s.session_id = any (placed_ids)
    order by s.session_id for no key update skip locked);
begin
  if cardinality(held) = cardinality(placed_ids) then
    return null;
  end if;
  return array(select unnest(placed_ids) except select unnest(held));
end;
$$;

comment on function occupancy.lock_placed(uuid[]) is
  'Internal. Locks the sessions that a tick is to place, and returns NULL, or those that somebody '
  'else holds. He may be waiting for the keys of the tick to cancel them, so that the tick, which '
  'has these already, waits for none.';
revoke all on function occupancy.lock_placed(uuid[]) from public;
