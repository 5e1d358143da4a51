create or replace function occupancy.get_queues(resource_group text default null)
returns setof occupancy.queue_state
language plpgsql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
declare
  checked constant boolean :=
    resource_group is null or occupancy.check_name(resource_group, 'resource_group');
begin
  return query
    select q.resource_group::text, count(*), count(*) filter (where q.reason_id is null),
           min(q.enqueued_at),
           extract(epoch from occupancy.clock() - min(q.enqueued_at))::double precision
    from occupancy.queued_session q
    where get_queues.resource_group is null or q.resource_group = get_queues.resource_group
    group by q.resource_group
    order by q.resource_group;
end;
$$;

comment on function occupancy.get_queues(text) is
  'How long the queue of a resource group is, or every queue (NULL), and since when its oldest '
  'session waits; no row where nobody does. OC005.';
revoke all on function occupancy.get_queues(text) from public;
grant execute on function occupancy.get_queues(text) to occupancy_viewer;
