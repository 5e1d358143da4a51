-- Before the sources: make them the whole truth, not an addition to whatever was there.

-- The owner can neither replace nor revoke what somebody else put here.
do $$
declare
  strangers text;
begin
  select string_agg(object, ', ' order by object)
  into strangers
  from (
    select 'function ' || oid::regprocedure as object
    from pg_proc
    where pronamespace = 'occupancy'::regnamespace
      and proowner <> 'occupancy_owner'::regrole
    union all
    select 'relation ' || oid::regclass
    from pg_class
    where relnamespace = 'occupancy'::regnamespace
      and relowner <> 'occupancy_owner'::regrole
      and relkind not in ('i', 'I')
  ) as strange;
  if strangers is not null then
    raise object_not_in_prerequisite_state using
      message = 'schema occupancy holds objects of another owner than occupancy_owner',
      detail = strangers,
      hint = 'drop them, or move them to a schema of their own';
  end if;
end
$$;

-- A function that the sources no longer define must not stay behind unseen. CREATE OR REPLACE
-- forgets the settings of the former function, whereas GRANT and COMMENT keep them; so whatever
-- still carries this mark afterwards was not created anew. (The row's xmin would not do: GRANT ON
-- ALL FUNCTIONS rewrites every row. Nor would a parameter of our own: that takes a superuser.)
do $$
declare
  routine regprocedure;
begin
  for routine in
    select oid
    from pg_proc
    where pronamespace = 'occupancy'::regnamespace and prokind <> 'a'
  loop
    execute format('alter routine %s set application_name = ''occupancy: retired''', routine);
  end loop;
end
$$;

-- Grants survive CREATE OR REPLACE too. What operators granted to roles of their own is theirs.
revoke all on schema occupancy
  from public, occupancy_admin, occupancy_manager, occupancy_viewer;
revoke all on all routines in schema occupancy
  from public, occupancy_admin, occupancy_manager, occupancy_viewer;
revoke all on all tables in schema occupancy
  from public, occupancy_admin, occupancy_manager, occupancy_viewer;
revoke all on all sequences in schema occupancy
  from public, occupancy_admin, occupancy_manager, occupancy_viewer;

-- A client checks on connecting whether the schema fits it, whatever else it may do.
grant usage on schema occupancy to occupancy_viewer;
grant select on occupancy.schema_migration, occupancy.schema_source, occupancy.schema_object
  to occupancy_viewer;

-- Functions call each other whatever the order of their files; validate.sql looks into them later.
set local check_function_bodies = off;
