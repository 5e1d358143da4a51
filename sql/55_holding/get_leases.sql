create or replace function occupancy.get_leases()
returns setof occupancy.lease_detail
language sql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
  select s.session_id, s.status, s.access_key::text, m.manager::text, s.holder_epoch,
         case when m.beat_at + m.ttl + m.grace <= occupancy.clock() then 'expired'
              when m.fenced_at is null and m.beat_at + m.ttl > occupancy.clock() then 'held'
              else 'suspect' end,
         s.created_at,
         least(m.fenced_at, m.beat_at + m.ttl),
         m.beat_at + m.ttl + m.grace
  from occupancy.session s
  left join occupancy.manager m on m.epoch = s.holder_epoch
  where s.holder_epoch is not null and s.ended_at is null;
$$;

comment on function occupancy.get_leases() is
  'Every session that is not confirmed, and who holds it, by the database''s clock; views leases '
  'and suspects show it.';
revoke all on function occupancy.get_leases() from public;
grant execute on function occupancy.get_leases() to occupancy_viewer;
