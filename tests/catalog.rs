//! Laws over the catalog: what every object of the schema has in common.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use occupancy::error::Code;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, each};

/// What a reader of psql's `\df+` and `\d+` needs, of functions and views alike.
const FUNCTIONS: &str = "
    select p.oid, p.proname::text as name, p.prokind, p.provolatile, p.prosecdef, p.proconfig,
           p.proowner::regrole::text as owner, l.lanname as language, p.prosrc,
           coalesce(obj_description(p.oid, 'pg_proc'), '') as comment,
           coalesce(p.proacl, acldefault('f', p.proowner)) as acl
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'occupancy'::regnamespace";

/// Fails if any function fulfils the condition; `f` is the function.
async fn no_function(condition: &str) {
    let f = Fixture::new().await;
    let sql = format!("select f.name from ({FUNCTIONS}) as f where {condition} order by 1");
    let offenders = f.rows(&sql, &[]).await;
    assert_eq!(each(&offenders, "name"), [] as [&str; 0]);
}

/// That a role other than the owner may execute it.
const CALLABLE: &str =
    "exists (select from aclexplode(f.acl) as a where a.grantee <> 'occupancy_owner'::regrole)";
const INTERNAL: &str = "starts_with(f.comment, 'Internal.')";

#[tokio::test]
async fn everything_has_a_comment() {
    let f = Fixture::new().await;
    let uncommented = f
        .rows(
            "select oid::regprocedure::text as name from pg_proc
              where pronamespace = 'occupancy'::regnamespace and obj_description(oid, 'pg_proc') is null
             union all
             select oid::regclass::text from pg_class
              where relnamespace = 'occupancy'::regnamespace and relkind in ('r', 'v', 'm', 'S', 'p')
                and obj_description(oid, 'pg_class') is null
             union all
             select t.oid::regtype::text from pg_type t left join pg_class c on c.oid = t.typrelid
              where t.typnamespace = 'occupancy'::regnamespace
                and (t.typtype in ('e', 'd') or c.relkind = 'c')
                and obj_description(t.oid, 'pg_type') is null
                and obj_description(c.oid, 'pg_class') is null
             union all
             select tgname::text from pg_trigger t join pg_class c on c.oid = t.tgrelid
              where c.relnamespace = 'occupancy'::regnamespace and not t.tgisinternal
                and obj_description(t.oid, 'pg_trigger') is null
             union all
             select 'schema' where obj_description('occupancy'::regnamespace, 'pg_namespace') is null",
            &[],
        )
        .await;
    assert_eq!(each(&uncommented, "name"), [] as [&str; 0]);
}

#[tokio::test]
async fn everything_is_owned_by_the_owner_who_cannot_log_in() {
    let f = Fixture::new().await;
    let others = f
        .rows(
            "select 'function ' || oid::regprocedure as name from pg_proc
              where pronamespace = 'occupancy'::regnamespace and proowner <> 'occupancy_owner'::regrole
             union all
             select 'relation ' || oid::regclass from pg_class
              where relnamespace = 'occupancy'::regnamespace and relowner <> 'occupancy_owner'::regrole
             union all
             select 'type ' || oid::regtype from pg_type
              where typnamespace = 'occupancy'::regnamespace and typowner <> 'occupancy_owner'::regrole
             union all
             select 'schema' from pg_namespace
              where nspname = 'occupancy' and nspowner <> 'occupancy_owner'::regrole
             union all
             select 'role ' || rolname from pg_roles
              where rolname in ('occupancy_owner', 'occupancy_admin', 'occupancy_manager', 'occupancy_viewer')
                and (rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolbypassrls)",
            &[],
        )
        .await;
    assert_eq!(each(&others, "name"), [] as [&str; 0]);
}

#[tokio::test]
async fn what_a_role_may_execute_runs_as_the_owner_with_a_pinned_search_path() {
    no_function(&format!(
        "{CALLABLE} and (
           f.proconfig[1] is distinct from 'search_path=pg_catalog, occupancy, pg_temp'
           -- What is immutable touches no table, so that it needs no rights.
           or not (f.prosecdef or f.provolatile = 'i'))"
    ))
    .await;
}

// A trigger needs nobody's right to execute it: it fires with the search path of whoever writes to the
// table by hand.
#[tokio::test]
async fn what_a_table_calls_has_a_pinned_search_path() {
    no_function(
        "exists (select from pg_trigger t where t.tgfoid = f.oid)
         and f.proconfig[1] is distinct from 'search_path=pg_catalog, occupancy, pg_temp'",
    )
    .await;
}

#[tokio::test]
async fn what_is_internal_is_executable_by_nobody_else_and_says_so() {
    no_function(&format!("({CALLABLE}) = ({INTERNAL})")).await;
}

#[tokio::test]
async fn nothing_is_open_to_public() {
    let f = Fixture::new().await;
    no_function("exists (select from aclexplode(f.acl) as a where a.grantee = 0)").await;
    let open = f
        .rows(
            "select c.oid::regclass::text as name from pg_class c,
                    aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) as a
              where c.relnamespace = 'occupancy'::regnamespace and a.grantee = 0
             union all
             select 'schema' from pg_namespace n, aclexplode(n.nspacl) as a
              where n.nspname = 'occupancy' and a.grantee = 0",
            &[],
        )
        .await;
    assert_eq!(each(&open, "name"), [] as [&str; 0]);
}

#[tokio::test]
async fn what_only_reads_is_stable_and_what_writes_is_volatile() {
    no_function(&format!(
        "{CALLABLE} and f.provolatile <> case
           when f.name = 'error_codes' then 'i'
           when f.name in ('check_session', 'audit') or f.name ~ '^(get|explain)_' then 's'
           else 'v'
         end"
    ))
    .await;
}

#[tokio::test]
async fn no_function_is_overloaded() {
    no_function(&format!("(select count(*) from ({FUNCTIONS}) as g where g.name = f.name) > 1"))
        .await;
}

#[tokio::test]
async fn no_function_executes_a_text() {
    no_function(r"f.prosrc ~* '\mexecute\M'").await;
}

#[tokio::test]
async fn arguments_of_results_are_built_in_so_that_clients_need_no_catalog() {
    let f = Fixture::new().await;
    let sql = format!(
        "select f.name || '.' || a.attname as name
         from ({FUNCTIONS}) as f
         join pg_proc p on p.oid = f.oid
         join pg_type t on t.oid = p.prorettype
         join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
         join pg_type column_type on column_type.oid = a.atttypid
         where {CALLABLE} and column_type.typnamespace <> 'pg_catalog'::regnamespace"
    );
    assert_eq!(f.rows(&sql, &[]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_codes_of_sql_and_of_rust_are_the_same() {
    let f = Fixture::new().await;
    let codes = f.rows("select code, name from occupancy.error_codes()", &[]).await;
    let expected = Code::ALL.map(|code| json!({"code": code.sqlstate(), "name": code.name()}));
    assert_eq!(codes, expected);
}

#[tokio::test]
async fn a_function_raises_known_codes_alone_and_names_them_in_its_comment() {
    no_function(
        "exists (
           select from regexp_matches(f.prosrc || f.comment, 'OC[0-9]+', 'g') as m (code)
           where m.code[1] not in (select code from occupancy.error_codes()))
         or exists (
           select from regexp_matches(f.prosrc, 'errcode = ''(OC[0-9]+)''', 'g') as m (code)
           where strpos(f.comment, m.code[1]) = 0)",
    )
    .await;
}

#[tokio::test]
async fn plpgsql_check_finds_nothing() {
    let f = Fixture::new().await;
    let available = "select count(*) from pg_available_extensions where name = 'plpgsql_check'";
    if f.row(available, &[]).await["count"] == 0 {
        let required =
            env::var("OCCUPANCY_TEST_REQUIRE_PLPGSQL_CHECK").is_ok_and(|value| value == "1");
        assert!(!required, "this server has no plpgsql_check, which is required");
        // Past the test harness, which shows the output of failed tests alone.
        writeln!(std::io::stderr(), "NOT CHECKED: this server has no plpgsql_check")
            .expect("stderr");
        return;
    }
    f.run("create extension plpgsql_check").await;
    let sql = format!(
        "select f.name, c.level, c.lineno, c.statement, c.message, c.detail
         from ({FUNCTIONS}) as f
         -- The extra warnings are about variables that nobody reads: here, those that hold the
         -- answer of a check which is called for its refusal.
         cross join lateral plpgsql_check_function_tb(
           f.oid, coalesce((select tgrelid from pg_trigger where tgfoid = f.oid limit 1), 0),
           fatal_errors => false, extra_warnings => false, security_warnings => true) as c
         where f.language = 'plpgsql'"
    );
    assert_eq!(f.rows(&sql, &[]).await, Vec::<Value>::new());
}

fn files(folder: &str) -> Vec<PathBuf> {
    let pattern = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("*.sql");
    let pattern = pattern.to_str().expect("a path in UTF-8");
    let files: Vec<_> = glob::glob(pattern).expect("a pattern").filter_map(Result::ok).collect();
    assert!(!files.is_empty(), "{folder} has files");
    files
}

#[tokio::test]
async fn each_function_and_view_has_a_file_of_its_name() {
    let f = Fixture::new().await;
    let sql = format!(
        "select f.name from ({FUNCTIONS}) as f
         union all select relname from pg_class
          where relnamespace = 'occupancy'::regnamespace and relkind = 'v'"
    );
    let objects = f.rows(&sql, &[]).await;
    let objects: BTreeSet<_> = each(&objects, "name").into_iter().map(str::to_owned).collect();
    let mut defined = BTreeSet::new();
    for file in files("sql/[1-9]*") {
        let text = fs::read_to_string(&file).expect("a text");
        let name = file.file_stem().expect("a name").to_str().expect("UTF-8");
        // A trigger is of its table.
        let heads: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("create ") && !line.contains(" trigger "))
            .collect();
        let Some(head) = heads.first() else {
            assert!(text.contains(&format!(" on occupancy.{name} ")), "{name} is about {name}");
            continue;
        };
        assert_eq!(heads.len(), 1, "{name} defines one object");
        let after = head.strip_prefix("create or replace ").expect("replaceable");
        let object = after.split([' ', '(']).nth(1).expect("a name");
        assert_eq!(object, format!("occupancy.{name}"));
        defined.insert(name.to_owned());
    }
    assert_eq!(defined, objects);
}

#[test]
fn no_migration_holds_a_function_body() {
    for file in files("migrations") {
        // Dropping a retired signature is what a migration is for.
        let text = fs::read_to_string(&file).expect("a text").to_lowercase();
        let text = text.replace("\ndrop function if exists ", "\n");
        for word in ["$$", " function ", " procedure ", "create trigger", " aggregate "] {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
}

/// What the scheduler defines: its tables, and its functions and views by their files.
async fn names_of_the_scheduler(f: &Fixture) -> Vec<String> {
    let migration = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/V4__scheduler.sql");
    let migration = fs::read_to_string(migration).expect("a text");
    let tables = migration.lines().filter_map(|line| {
        let table = line.strip_prefix("create table occupancy.")?;
        table.split(' ').next().map(str::to_owned)
    });
    let tables: Vec<_> = tables.collect();
    let known = f.rows("select relname from pg_class where relname = any ($1)", &[&tables]).await;
    assert_eq!(known.len(), tables.len());
    let sources = files("sql/80_scheduling");
    let sources = sources.iter().map(|file| file.file_stem().expect("a name").to_str());
    tables.into_iter().chain(sources.map(|name| name.expect("UTF-8").to_owned())).collect()
}

#[tokio::test]
async fn the_core_knows_nothing_of_the_scheduler() {
    let f = Fixture::new().await;
    let names = names_of_the_scheduler(&f).await;
    for file in files("sql/[1-7]*") {
        let text = fs::read_to_string(&file).expect("a text");
        for name in &names {
            let known = text.match_indices(&format!("occupancy.{name}")).any(|(at, found)| {
                let rest = &text[at + found.len()..];
                !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_')
            });
            assert!(!known, "{} names {name}", file.display());
        }
    }
}

#[test]
fn the_core_of_the_client_knows_nothing_of_the_scheduler() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // What puts everything together knows everything.
    let together = ["handles.rs", "lib.rs", "main.rs"];
    let files =
        fs::read_dir(source).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.is_file());
    let core: Vec<_> =
        files.filter(|file| !together.iter().any(|name| file.ends_with(name))).collect();
    assert!(core.len() > 10, "{core:?}");
    for file in core {
        let text = fs::read_to_string(&file).expect("a text");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let known = ["scheduling", "Queue", "Scheduler"].iter().any(|name| line.contains(name));
            assert!(!known, "{}: {line}", file.display());
        }
    }
}
