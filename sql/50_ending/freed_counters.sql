create or replace function occupancy.freed_counters(counters occupancy.counter[])
returns occupancy.counter[]
language plpgsql immutable
as $$
declare
  below record;
begin
  select c.slot, c.used, c.asked,
         case when c.kind in ('keypair', 'system') then 'keypair '
              when c.kind = 'agent' then 'agent '
              else c.kind || ' quota ' end || c.id as subject
  into below
  from unnest(counters) as c
  where c.asked > c.used and c.kind not in ('key_inactive', 'agent_unavailable')
  limit 1;
  if below.slot is not null then
    perform occupancy.slots_minus(
      jsonb_build_object(below.slot, trim_scale(below.used)::text),
      jsonb_build_object(below.slot, trim_scale(below.asked)::text), below.subject);
  elsif below.subject is not null then
    perform occupancy.count_minus(below.used::bigint, below.asked::bigint, below.subject);
  end if;
  return array(
    select row(c.kind, c.id, c.slot, c.used, -c.asked, c.max)::occupancy.counter
    from unnest(counters) as c);
end;
$$;

comment on function occupancy.freed_counters(occupancy.counter[]) is
  'Internal. What sessions that end take off their counters, as charge_counters takes it. Below '
  'zero is a counter that contradicts the ledger: OC010, naming it.';
revoke all on function occupancy.freed_counters(occupancy.counter[]) from public;
