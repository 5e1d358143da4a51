create or replace function occupancy.free_kernel(held occupancy.session, kernel_id uuid)
returns boolean
language plpgsql volatile
as $$
declare
  ends constant boolean := not exists (
    select from occupancy.kernel k
    where k.session_id = held.session_id and k.ended_at is null
      and k.kernel_id <> free_kernel.kernel_id);
begin
  if ends then
    update occupancy.session s set status = 'TERMINATED', ended_at = occupancy.clock()
    where s.session_id = held.session_id
    returning s.ended_at into held.ended_at;
  end if;
  perform occupancy.free_kernels(held, kernel_id, held.status = 'RUNNING', ends);
  return ends;
end;
$$;

comment on function occupancy.free_kernel(occupancy.session, uuid) is
  'Internal. Ends a kernel that lives, of a session whose row the caller has locked, and frees what '
  'it holds; the last one ends the session. Returns whether the session ended. OC010.';
revoke all on function occupancy.free_kernel(occupancy.session, uuid) from public;
