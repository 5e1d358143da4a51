-- The four roles, and what the connecting user needs to install the schema.
--
-- Runs first, before the migrations, as the connecting user. Roles belong to the whole cluster, so
-- another database may be creating the same ones right now; and an ordinary user may find them made
-- ready by a superuser. Hence: list what is missing, try to provide it, and report together
-- whatever this user may not provide.
--
--   occupancy_owner    owns every object; nobody logs in as it
--   occupancy_admin    limits, registry, repair; and all that a manager may
--   occupancy_manager  reserves and releases; and all that a viewer may
--   occupancy_viewer   reads views, counts and proofs
do $roles$
declare
  need record;
  gaps text[] := '{}';
  remedies text[] := '{}';
begin
  for need in
    select
      1 as step,
      true as ours_to_try,
      format('role %I does not exist', role.name) as gap,
      format('create role %I nologin', role.name) as remedy
    from unnest(array[
      'occupancy_owner', 'occupancy_admin', 'occupancy_manager', 'occupancy_viewer'
    ]) as role (name)
    where to_regrole(role.name) is null
    union all
    select
      2,
      true,
      format('%I is not a member of %I', part.member, part.role),
      format('grant %I to %I', part.role, part.member)
    from (values
      ('occupancy_viewer', 'occupancy_manager'),
      ('occupancy_manager', 'occupancy_admin')
    ) as part (role, member)
    where not coalesce(
      pg_has_role(to_regrole(part.member), to_regrole(part.role), 'usage'), false)
    union all
    -- Since PostgreSQL 16 a membership may exist without the right to SET ROLE.
    select
      3,
      true,
      format('%I may not SET ROLE occupancy_owner', session_user),
      format('grant occupancy_owner to %I', session_user)
    from pg_roles me
    where me.rolname = session_user
      and not me.rolsuper
      and not coalesce(
        pg_has_role(
          session_user,
          to_regrole('occupancy_owner'),
          case when current_setting('server_version_num')::integer >= 160000
               then 'set' else 'member' end),
        false)
    union all
    select
      4,
      false,
      format('%I may not create a schema in database %I', current_user, current_database()),
      format('grant create on database %I to %I', current_database(), current_user)
    where to_regnamespace('occupancy') is null
      and not has_database_privilege(current_database(), 'create')
    union all
    select
      4,
      false,
      format('schema occupancy exists and belongs to %I', owner.rolname),
      'alter schema occupancy owner to occupancy_owner'
    from pg_namespace namespace
    join pg_roles owner on owner.oid = namespace.nspowner
    where namespace.nspname = 'occupancy' and owner.rolname <> 'occupancy_owner'
    order by step
  loop
    begin
      if not need.ours_to_try then
        raise insufficient_privilege;
      end if;
      execute need.remedy;
    exception
      when duplicate_object or unique_violation then
        null;  -- the migrator of another database was quicker, and has committed
      when insufficient_privilege or undefined_object then
        gaps := gaps || need.gap;
        remedies := remedies || need.remedy;
    end;
  end loop;

  if cardinality(gaps) > 0 then
    raise insufficient_privilege using
      message = format('%I lacks what it takes to install the occupancy schema', current_user),
      detail = array_to_string(gaps, '; '),
      hint = 'as a superuser run: ' || array_to_string(remedies, '; ') || ';';
  end if;
end
$roles$;
