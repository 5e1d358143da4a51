-- What the sources no longer define, told by the mark that was set before they were applied.
select 'function ' || oid::regprocedure as leftover
from pg_proc
where pronamespace = 'occupancy'::regnamespace
  and 'application_name=occupancy: retired' = any (proconfig)
union all
-- Aggregates and views need no mark: each has a row that nothing but CREATE OR REPLACE writes, so
-- here the writing transaction tells.
select 'aggregate ' || routine.oid::regprocedure
from pg_proc routine
join pg_aggregate aggregate on aggregate.aggfnoid = routine.oid
where routine.pronamespace = 'occupancy'::regnamespace
  and aggregate.xmin <> pg_current_xact_id()::xid
union all
select 'view ' || view.oid::regclass
from pg_class view
join pg_rewrite rule on rule.ev_class = view.oid and rule.rulename = '_RETURN'
where view.relnamespace = 'occupancy'::regnamespace
  and view.relkind = 'v'
  and rule.xmin <> pg_current_xact_id()::xid
order by leftover
