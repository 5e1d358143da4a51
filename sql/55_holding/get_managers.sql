create or replace function occupancy.get_managers()
returns setof occupancy.manager_detail
language sql stable security definer
set search_path = pg_catalog, occupancy, pg_temp
as $$
  select m.manager::text, m.epoch,
         case when m.fenced_at is not null then 'FENCED'
              when m.beat_at + m.ttl > occupancy.clock() then 'ALIVE'
              when m.beat_at + m.ttl + m.grace > occupancy.clock() then 'SUSPECT'
              else 'EXPIRED' end,
         m.ttl, m.grace, m.registered_at, m.beat_at, m.fenced_at,
         (select count(*) from occupancy.session s
          where s.holder_epoch = m.epoch and s.ended_at is null)
  from occupancy.manager m;
$$;

comment on function occupancy.get_managers() is
  'Every start of a manager that is remembered, by the database''s clock; view managers shows it.';
revoke all on function occupancy.get_managers() from public;
grant execute on function occupancy.get_managers() to occupancy_viewer;
