create or replace function occupancy.get_concurrency(access_key text)
returns occupancy.concurrency_count
language plpgsql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean := occupancy.check_name(access_key, 'access_key');
  counted occupancy.concurrency_count;
begin
  select c.access_key, c.compute_used, c.compute_max, c.system_used, c.system_max into counted
  from occupancy.concurrency c
  where c.access_key = get_concurrency.access_key;
  if not found then
    perform occupancy.refuse_key(access_key);
  end if;
  return counted;
end;
$$;

comment on function occupancy.get_concurrency(text) is
  'How many sessions an access key runs, per class, and its limits (NULL = unlimited). OC002, '
  'OC005.';
revoke all on function occupancy.get_concurrency(text) from public;
grant execute on function occupancy.get_concurrency(text) to occupancy_viewer;
