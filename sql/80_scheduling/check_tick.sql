create or replace function occupancy.check_tick(
  resource_group text,
  max_sessions integer,
  policy text,
  selector text,
  tries integer,
  wait boolean
)
returns boolean
language plpgsql stable parallel safe
as $$
begin
  perform occupancy.check_name(resource_group, 'resource_group');
  perform occupancy.check_word(policy, array['fifo', 'lifo', 'drf'], 'policy');
  perform occupancy.check_word(
    selector, array['concentrated', 'dispersed', 'roundrobin', 'legacy'], 'selector');
  if max_sessions is null or max_sessions not between 1 and 10000 then
    raise exception 'max_sessions is out of range'
      using errcode = 'OC005', detail = coalesce(max_sessions::text, 'NULL'),
            hint = 'pass a number from 1 to 10000';
  end if;
  if tries is null or tries < 0 then
    raise exception 'tries is missing or negative'
      using errcode = 'OC005', detail = coalesce(tries::text, 'NULL'),
            hint = 'pass after how many failed tries a session steps aside, 0 for never';
  end if;
  if wait is null then
    raise exception 'wait is missing'
      using errcode = 'OC005', detail = 'NULL',
            hint = 'pass whether to wait for a tick that is under way';
  end if;
  return occupancy.require_fresh_snapshots();
end;
$$;

comment on function occupancy.check_tick(text, integer, text, text, integer, boolean) is
  'Internal. Refuses the arguments of a tick that are wrong (OC005), and an old snapshot.';
revoke all on function occupancy.check_tick(text, integer, text, text, integer, boolean) from public;
