-- Every object of the schema: a hash of what it is, who may use it, what is said about it.
select
  kind collate "C" as kind,
  identity collate "C" as identity,
  encode(sha256(convert_to(definition, 'UTF8')), 'hex') as definition,
  coalesce(
    (select string_agg(item::text, ' ' order by item::text collate "C") from unnest(acl) as item),
    '') as grants,
  coalesce(comment, '') as comment
from (
  select
    'schema' as kind,
    quote_ident(nspname) as identity,
    '' as definition,
    coalesce(nspacl, acldefault('n', nspowner)) as acl,
    obj_description(oid, 'pg_namespace') as comment
  from pg_namespace
  where nspname = 'occupancy'
  union all
  select
    'function',
    oid::regprocedure::text,
    pg_get_functiondef(oid),
    coalesce(proacl, acldefault('f', proowner)),
    obj_description(oid, 'pg_proc')
  from pg_proc
  where pronamespace = 'occupancy'::regnamespace and prokind <> 'a'
  union all
  select
    'aggregate',
    oid::regprocedure::text,
    concat_ws(
      E'\n', aggkind, aggtransfn, aggfinalfn, aggcombinefn, aggmtransfn, aggminvtransfn,
      aggmfinalfn, aggtranstype::regtype, agginitval, aggminitval, provolatile, proparallel),
    coalesce(proacl, acldefault('f', proowner)),
    obj_description(oid, 'pg_proc')
  from pg_proc
  join pg_aggregate on aggfnoid = oid
  where pronamespace = 'occupancy'::regnamespace
  union all
  select
    case relkind
      when 'v' then 'view'
      when 'm' then 'materialized view'
      when 'S' then 'sequence'
      when 'c' then 'type'
      else 'table'
    end,
    oid::regclass::text,
    concat_ws(
      E'\n', relkind, relpersistence, relrowsecurity, relforcerowsecurity, reloptions::text,
      case when relkind in ('v', 'm') then pg_get_viewdef(oid) end),
    case
      when relkind = 'S' then coalesce(relacl, acldefault('s', relowner))
      when relkind <> 'c' then coalesce(relacl, acldefault('r', relowner))
    end,
    obj_description(oid, 'pg_class')
  from pg_class
  where relnamespace = 'occupancy'::regnamespace and relkind not in ('i', 'I')
  union all
  select
    'column',
    format('%s.%I', attrelid::regclass, attname),
    concat_ws(
      E'\n', attnum, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
      attcollation::regcollation, pg_get_expr(adbin, adrelid)),
    attacl,
    col_description(attrelid, attnum)
  from pg_attribute
  join pg_class on pg_class.oid = attrelid
  left join pg_attrdef on adrelid = attrelid and adnum = attnum
  where relnamespace = 'occupancy'::regnamespace
    and relkind not in ('i', 'I', 'S')
    and attnum > 0
    and not attisdropped
  union all
  select
    'constraint',
    format(
      '%s.%I',
      coalesce(nullif(conrelid, 0)::regclass::text, nullif(contypid, 0)::regtype::text),
      conname),
    concat_ws(E'\n', convalidated, pg_get_constraintdef(oid)),
    null,
    obj_description(oid, 'pg_constraint')
  from pg_constraint
  where connamespace = 'occupancy'::regnamespace
  union all
  select
    'index',
    indexrelid::regclass::text,
    concat_ws(E'\n', indisvalid, pg_get_indexdef(indexrelid)),
    null,
    obj_description(indexrelid, 'pg_class')
  from pg_index
  join pg_class on pg_class.oid = indexrelid
  where relnamespace = 'occupancy'::regnamespace
  union all
  select
    'trigger',
    format('%s.%I', tgrelid::regclass, tgname),
    concat_ws(E'\n', tgenabled, pg_get_triggerdef(pg_trigger.oid)),
    null,
    obj_description(pg_trigger.oid, 'pg_trigger')
  from pg_trigger
  join pg_class on pg_class.oid = tgrelid
  where relnamespace = 'occupancy'::regnamespace and not tgisinternal
  union all
  -- Enums and domains; a composite type is found among the relations.
  select
    'type',
    oid::regtype::text,
    concat_ws(
      E'\n', typtype, nullif(typbasetype, 0)::regtype, typnotnull, typdefault,
      (select string_agg(enumlabel, ' ' order by enumsortorder)
       from pg_enum
       where enumtypid = pg_type.oid)),
    coalesce(typacl, acldefault('T', typowner)),
    obj_description(oid, 'pg_type')
  from pg_type
  where typnamespace = 'occupancy'::regnamespace and typtype in ('e', 'd')
) as object
