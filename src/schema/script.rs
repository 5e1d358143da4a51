//! The SQL that the runner and the script for psql have in common, and that script.

use std::fmt::Write as _;

use super::sources::{Migration, Release, Sources};

pub(super) const SETTINGS: &str = include_str!("sql/settings.sql");
pub(super) const LOCK: &str = include_str!("sql/lock.sql");
pub(super) const LEDGER: &str = include_str!("sql/ledger.sql");
pub(super) const PREPARE: &str = include_str!("sql/prepare.sql");
pub(super) const LEFTOVERS: &str = include_str!("sql/leftovers.sql");
pub(super) const VALIDATE: &str = include_str!("sql/validate.sql");
pub(super) const OBJECTS: &str = include_str!("sql/objects.sql");

/// The oldest server that is supported, as in `server_version_num`.
pub(super) const OLDEST_SERVER: i32 = 15_00_00;

/// Writes down which sources were applied.
pub(super) fn record_sources(files: &Sources) -> String {
    let rows: Vec<_> = files
        .repeatable
        .iter()
        .map(|(path, source)| {
            let (path, checksum) = (literal(path), literal(&source.checksum));
            format!("    ({path}, {checksum}, {})", array(files.release))
        })
        .collect();
    format!(
        "delete from occupancy.schema_source;\n\
         insert into occupancy.schema_source (path, checksum, release) values\n{};\n",
        rows.join(",\n")
    )
}

/// Writes down how every object looks now.
pub(super) fn record_objects() -> String {
    format!(
        "delete from occupancy.schema_object;\n\
         insert into occupancy.schema_object (kind, identity, definition, grants, comment)\n\
         {OBJECTS};\n"
    )
}

const HEADER: &str = "\
-- Installs or upgrades the occupancy schema, in one transaction:
--     psql --no-psqlrc --file occupancy.sql DATABASE
\\set ON_ERROR_STOP on
begin isolation level read committed read write;
";

/// The whole schema as one script for psql, which may be run again and upgrades too.
pub(super) fn install_script(files: &Sources) -> String {
    let mut script = HEADER.to_owned();
    section(&mut script, "settings", SETTINGS);
    section(&mut script, "supported servers", &refuse_server());
    section(&mut script, "lock", LOCK);
    section(&mut script, super::sources::ROLES, files.roles());
    section(&mut script, "ledger", LEDGER);
    section(&mut script, "histories that do not fit", &refuse_history(files));
    for migration in &files.migrations {
        section(&mut script, &migration.path(), &unless_applied(migration));
    }
    section(&mut script, "clean slate for the sources", PREPARE);
    for (path, sql) in files.after_migrations() {
        section(&mut script, path, sql);
    }
    section(&mut script, "nothing left behind", &refuse_leftovers());
    section(&mut script, "bodies of functions", VALIDATE);
    section(&mut script, "what was applied", &record_sources(files));
    section(&mut script, "how it looks now", &record_objects());
    script.push_str("\ncommit;\n");
    script
}

fn section(script: &mut String, title: &str, sql: &str) {
    let _ = write!(script, "\n-- >>> {title}\n{}\n", sql.trim_end());
}

fn refuse_server() -> String {
    raise_if(
        &format!("current_setting('server_version_num')::integer < {OLDEST_SERVER}"),
        &format!("occupancy needs PostgreSQL {} or newer", OLDEST_SERVER / 10_000),
    )
}

fn refuse_history(files: &Sources) -> String {
    let mut unfit = format!(
        "exists (select from occupancy.schema_source where release > {})\n\
         or exists (select from occupancy.schema_migration",
        array(files.release)
    );
    for (index, Migration { inner, .. }) in files.migrations.iter().enumerate() {
        let _ = write!(
            unfit,
            "\n    {} (version, name, checksum) <> ({}, {}, '{}')",
            if index == 0 { "where" } else { "and" },
            inner.version(),
            literal(inner.name()),
            inner.checksum()
        );
    }
    unfit.push(')');
    raise_if(
        &unfit,
        "the schema is newer than this script, or an applied migration was edited afterwards",
    )
}

fn refuse_leftovers() -> String {
    format!(
        "\
do $occupancy$
declare
  leftovers text;
begin
  select string_agg(leftover, ', ') into leftovers from (
{LEFTOVERS}) as found;
  if leftovers is not null then
    raise 'the schema holds what the sources no longer define' using detail = leftovers;
  end if;
end
$occupancy$;"
    )
}

fn raise_if(condition: &str, message: &str) -> String {
    format!(
        "\
do $occupancy$
begin
  if {condition}
  then
    raise exception using message = {};
  end if;
end
$occupancy$;",
        literal(message)
    )
}

/// psql decides at run time, so that the script also upgrades.
fn unless_applied(migration: &Migration) -> String {
    let Migration { inner, compatibility } = migration;
    format!(
        "\
select not exists (
  select from occupancy.schema_migration where version = {version}
) as occupancy_pending \\gset
\\if :occupancy_pending
{sql}
insert into occupancy.schema_migration (version, name, applied_on, checksum, compatibility)
values ({version}, {name}, to_char(now(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
  '{checksum}', '{compatibility}');
\\endif",
        version = inner.version(),
        name = literal(inner.name()),
        checksum = inner.checksum(),
        sql = migration.sql().trim_end(),
    )
}

fn array(release: Release) -> String {
    let [major, minor, patch] = release;
    format!("array[{major}, {minor}, {patch}]")
}

/// A string constant; the settings say that a backslash in it means itself.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
