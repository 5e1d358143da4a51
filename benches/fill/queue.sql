-- Sessions that wait, spread over keys AK-1, AK-2, …, as so many distinct requests, each of them
-- `times` as large. All of them have to be accepted.
create function fill.queue(sessions integer, keys integer, shapes integer, times bigint)
returns void
language plpgsql volatile
as $$
declare
  accepted integer;
begin
  select count(*) into accepted
  from generate_series(1, sessions) as n
  cross join lateral occupancy.enqueue_session(
    gen_random_uuid(), 'AK-' || 1 + n % keys,
    jsonb_build_array(jsonb_build_object('slots', jsonb_build_object(
      'cpu', times, 'mem', times * (1024 + n % shapes) || 'm', 'cuda.shares', 0.5 * times)))) as e
  where e.outcome = 'enqueued';
  if accepted <> sessions then
    raise exception 'only % of % sessions were enqueued', accepted, sessions;
  end if;
end;
$$;
