-- What the sources no longer define, told by the mark that was set before they were applied.
select 'function ' || oid::regprocedure as leftover
from pg_proc
where pronamespace = 'occupancy'::regnamespace
  and 'application_name=occupancy: retired' = any (proconfig)
union all
-- Nothing but CREATE OR REPLACE VIEW writes a view's rule, so here the writing transaction tells.
select 'view ' || view.oid::regclass
from pg_class view
join pg_rewrite rule on rule.ev_class = view.oid and rule.rulename = '_RETURN'
where view.relnamespace = 'occupancy'::regnamespace
  and view.relkind = 'v'
  and rule.xmin <> pg_current_xact_id()::xid
order by leftover
