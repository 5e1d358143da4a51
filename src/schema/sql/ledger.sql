-- The schema and the runner's own tables. Before this, the connecting user acts; after it, the owner.
do $$
begin
  -- Not IF NOT EXISTS: that asks for CREATE on the database even where nothing is created.
  if to_regnamespace('occupancy') is null then
    create schema occupancy authorization occupancy_owner;
  end if;
end
$$;
set local role occupancy_owner;

comment on schema occupancy is
  'Exact concurrency limits and agent occupancy for session platforms.';

-- Functions are born executable by everybody; per schema that default cannot be taken away.
alter default privileges revoke execute on functions from public;

create table if not exists occupancy.schema_migration (
  version integer primary key,
  name varchar(255) not null,
  applied_on varchar(255) not null,
  checksum varchar(255) not null,
  -- The safe guess, in force for the instant between refinery's insert and our update.
  compatibility text not null default 'breaking'
    check (compatibility in ('additive', 'breaking'))
);
comment on table occupancy.schema_migration is
  'Migrations applied, in the columns of refinery, and whether older clients can live with each.';

create table if not exists occupancy.schema_source (
  path text primary key,
  checksum text not null,
  release integer[] not null,
  applied_at timestamptz not null default now()
);
comment on table occupancy.schema_source is
  'Repeatable sources as last applied: SHA-256 of each file, and the release that brought them.';

create table if not exists occupancy.schema_object (
  kind text collate "C" not null,
  identity text collate "C" not null,
  definition text not null,
  grants text not null,
  comment text not null,
  primary key (kind, identity)
);
comment on table occupancy.schema_object is
  'Every object as it was after the last migration, for finding what was changed by hand.';
