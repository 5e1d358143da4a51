//! The schema runner, against small schemas of its own and against the real one.

use std::future::Future;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use occupancy::error::{Error, ErrorKind};
use occupancy::schema::{
    Change, Difference, MigrationReport, MigrationState, Release, Runner, Sources, SourcesOutcome,
    SourcesState,
};
use tokio_postgres::Client;

use crate::support::{TestDb, empty_database};

const ROLES: &str = include_str!("../sql/00_roles/roles.sql");

const ITEM: (&str, &str) = (
    "V1__item.sql",
    "-- compatibility: breaking
     create table occupancy.item (id int primary key, size int not null check (size > 0));
     create index item_size on occupancy.item (size);
     create type occupancy.measure as (id int, size int);",
);
const LABEL: (&str, &str) = (
    "V2__label.sql",
    "-- compatibility: additive
     alter table occupancy.item add column label text;",
);
const ITEM_SIZE: (&str, &str) = (
    "sql/10_item/item_size.sql",
    "create or replace function occupancy.item_size(id int) returns int
     language sql stable set search_path = pg_catalog, pg_temp
     as 'select size from occupancy.item as i where i.id = item_size.id';
     comment on function occupancy.item_size is 'The size of an item.';",
);
const ITEMS: (&str, &str) = (
    "sql/20_views/items.sql",
    "create or replace view occupancy.items as select id, size from occupancy.item;",
);
const GRANTS: (&str, &str) = (
    "sql/90_grants/grants.sql",
    "grant execute on all functions in schema occupancy to occupancy_manager;
     grant select on occupancy.items to occupancy_viewer;",
);
const SIZES: (&str, &str) = (
    "sql/20_views/sizes.sql",
    "create or replace aggregate occupancy.sizes(int) (sfunc = int4pl, stype = int, initcond = 0);",
);
const RELEASE: Release = [1, 0, 0];
const MIGRATIONS: [(&str, &str); 1] = [ITEM];
const SOURCES: [(&str, &str); 4] = [ITEM_SIZE, ITEMS, SIZES, GRANTS];

fn runner(release: Release, migrations: &[(&str, &str)], sources: &[(&str, &str)]) -> Runner {
    let sources = sources.iter().copied().chain([("sql/00_roles/roles.sql", ROLES)]);
    Runner::new(
        Sources::new(release, migrations.iter().copied(), sources).expect("well-formed files"),
    )
}

fn items() -> Runner {
    runner(RELEASE, &MIGRATIONS, &SOURCES)
}

async fn installed(runner: &Runner) -> (TestDb, Client) {
    let db = empty_database().await;
    let mut client = db.connect().await;
    let report = runner.migrate(&mut client).await.expect("an installation");
    assert_eq!(report.sources, SourcesOutcome::Applied);
    (db, client)
}

fn detail(error: &Error) -> &str {
    error.detail_text().unwrap_or_default()
}

fn hint(error: &Error) -> &str {
    error.hint_text().unwrap_or_default()
}

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.expect(query).get(0)
}

async fn execute(client: &Client, sql: &str) {
    client.batch_execute(sql).await.expect(sql);
}

/// Polls until the query counts at least one row; a state that never comes fails the test.
async fn until(client: &Client, query: &str) {
    let seen = async {
        while number(client, query).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.expect(query);
}

/// Waits until the backend with this pid waits for a lock.
async fn until_blocked(client: &Client, pid: i32) {
    let query = format!(
        "select count(*) from pg_stat_activity where pid = {pid} and wait_event_type = 'Lock'"
    );
    until(client, &query).await;
}

async fn pid(client: &Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).await.expect("a pid").get(0)
}

#[tokio::test]
async fn installing_creates_everything_and_reports_it() {
    let (_db, client) = installed(&items()).await;
    execute(&client, "insert into occupancy.item values (1, 7)").await;
    assert_eq!(number(&client, "select occupancy.item_size(1)::bigint").await, 7);

    let status = items().status(&client).await.expect("a status");
    assert_eq!(status.sources, SourcesState::Current);
    assert_eq!(status.migrations.len(), 1);
    assert_eq!(status.migrations[0].state, MigrationState::Applied);
    items().check(&client).await.expect("a schema that fits");
}

#[tokio::test]
async fn the_embedded_schema_installs_once_and_is_sound() {
    let runner = Runner::embedded().expect("well-formed files");
    let (_db, mut client) = installed(&runner).await;
    runner.check(&client).await.expect("a schema that fits");
    assert_eq!(runner.verify(&mut client).await.expect("a comparison"), []);
    assert!(runner.migrate(&mut client).await.expect("a second time").is_no_op());
}

#[tokio::test]
async fn of_twenty_migrators_at_once_exactly_one_applies() {
    let db = empty_database().await;
    let mut clients = join_all((0..20).map(|_| db.connect())).await;
    let runner = items();
    let reports = join_all(clients.iter_mut().map(|client| runner.migrate(client))).await;
    let reports: Vec<MigrationReport> =
        reports.into_iter().collect::<Result<_, _>>().expect("no failure");
    assert_eq!(reports.iter().filter(|report| report.applied == ["V1__item"]).count(), 1);
    assert_eq!(reports.iter().filter(|report| report.is_no_op()).count(), 19);
}

#[tokio::test]
async fn twice_equals_once() {
    let (_db, mut client) = installed(&items()).await;
    let everything =
        "select jsonb_agg(o order by kind, identity)::text from occupancy.schema_object o";
    let before: String = client.query_one(everything, &[]).await.expect("objects").get(0);

    let again = items().migrate(&mut client).await.expect("a second time");
    assert_eq!(again, MigrationReport { applied: vec![], sources: SourcesOutcome::Current });

    // The same once more, with all sources applied over themselves.
    execute(&client, "update occupancy.schema_source set checksum = 'another'").await;
    let over = items().migrate(&mut client).await.expect("a third time");
    assert_eq!(over, MigrationReport { applied: vec![], sources: SourcesOutcome::Applied });
    let after: String = client.query_one(everything, &[]).await.expect("objects").get(0);
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_migration_without_work_takes_no_lock() {
    let (db, client) = installed(&items()).await;
    execute(
        &client,
        "begin;
         lock table occupancy.item, occupancy.schema_migration, occupancy.schema_source,
                    occupancy.schema_object in exclusive mode;
         select pg_advisory_xact_lock(x'6f63637570616e63'::bigint);",
    )
    .await;
    let mut other = db.connect().await;
    let runner = items();
    let report = within(runner.migrate(&mut other)).await.expect("no wait");
    assert!(report.is_no_op());
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("an end")
}

#[tokio::test]
async fn a_failing_source_leaves_nothing_and_is_named() {
    let db = empty_database().await;
    let mut client = db.connect().await;
    let cases = [
        ("grant select\non occupancy.item\nto;", "42601", "in sql/30_broken/broken.sql:3"),
        (
            "create function occupancy.broken() returns int language sql as 'selec 1';",
            "42601",
            "in function occupancy.broken()",
        ),
        (
            "create function occupancy.broken() returns int language plpgsql as 'begin\nretur 1; end';",
            "42601",
            "in function occupancy.broken()",
        ),
        (
            "create function occupancy.broken() returns int language sql as 'select occupancy.absent()';",
            "42883",
            "in function occupancy.broken()",
        ),
    ];
    for (sql, sqlstate, place) in cases {
        let broken = runner(RELEASE, &MIGRATIONS, &[ITEM_SIZE, ("sql/30_broken/broken.sql", sql)]);
        let error = broken.migrate(&mut client).await.expect_err(sql);
        assert_eq!(error.sqlstate(), Some(sqlstate), "{sql}");
        assert_eq!(detail(&error), place, "{sql}");
        let left = "select count(*) from pg_namespace where nspname = 'occupancy'";
        assert_eq!(number(&client, left).await, 0, "{sql}");
        psql(&db, &broken.install_script()).expect_err(sql);
        assert_eq!(number(&client, left).await, 0, "{sql}");
    }
    items().migrate(&mut client).await.expect("the repaired schema");
}

#[tokio::test]
async fn functions_may_call_those_of_later_files() {
    let caller = (
        "sql/10_item/caller.sql",
        "create or replace function occupancy.caller() returns int language sql
         as 'select occupancy.item_size(1)';",
    );
    installed(&runner(RELEASE, &MIGRATIONS, &[caller, ITEM_SIZE])).await;
}

#[tokio::test]
async fn a_failing_migration_is_named_and_leaves_the_former_schema() {
    let (_db, mut client) = installed(&items()).await;
    let broken =
        ("V2__broken.sql", "-- compatibility: additive\nalter table occupancy.itm add x int;");
    let error = runner(RELEASE, &[ITEM, broken], &SOURCES)
        .migrate(&mut client)
        .await
        .expect_err("an unknown table");
    assert_eq!(error.sqlstate(), Some("42P01"));
    assert!(detail(&error).contains("migrations/V2__broken.sql"), "{}", detail(&error));
    assert!(items().migrate(&mut client).await.expect("still there").is_no_op());
    assert_eq!(items().verify(&mut client).await.expect("a comparison"), []);
}

#[tokio::test]
async fn the_callers_settings_stay_as_they_are() {
    let db = empty_database().await;
    let mut client = db.connect().await;
    let settings = "select format('%s %s %s %s %s', current_user, current_setting('search_path'),
                                  current_setting('lock_timeout'), current_setting('timezone'),
                                  current_setting('statement_timeout'))";
    execute(
        &client,
        "set search_path = public; set lock_timeout = '7s'; set timezone = 'Asia/Seoul'",
    )
    .await;
    let before: String = client.query_one(settings, &[]).await.expect("settings").get(0);
    items().migrate(&mut client).await.expect("an installation");
    items().verify(&mut client).await.expect("a comparison");
    let after: String = client.query_one(settings, &[]).await.expect("settings").get(0);
    assert_eq!(before, after);
}

#[tokio::test]
async fn the_callers_isolation_level_and_search_path_do_not_matter() {
    let db = empty_database().await;
    let mut client = db.connect().await;
    execute(
        &client,
        "set default_transaction_isolation = 'serializable';
         set default_transaction_read_only = on;
         set search_path = occupancy, public;",
    )
    .await;
    items().migrate(&mut client).await.expect("an installation");
    assert_eq!(items().verify(&mut client).await.expect("a comparison"), []);
    assert_eq!(items().verify(&mut db.connect().await).await.expect("a comparison"), []);
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let (_db, mut client) = installed(&items()).await;
    let edited =
        ("V1__item.sql", "-- compatibility: breaking\ncreate table occupancy.item (id int);");
    let runner = runner(RELEASE, &[edited], &SOURCES);
    let error = runner.migrate(&mut client).await.expect_err("an edited migration");
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert_eq!(error.to_string(), "an applied migration was edited afterwards");
    assert!(detail(&error).starts_with("V1__item differs"), "{}", detail(&error));
    let status = runner.status(&client).await.expect("a status");
    assert_eq!(status.migrations[0].state, MigrationState::Edited);
}

#[tokio::test]
async fn a_migration_that_comes_too_late_is_refused() {
    let late = ("V2__late.sql", "-- compatibility: additive\nselect 1;");
    let third = ("V3__third.sql", "-- compatibility: additive\nselect 1;");
    let (_db, mut client) = installed(&runner(RELEASE, &[ITEM, third], &SOURCES)).await;
    let error = runner(RELEASE, &[ITEM, late, third], &SOURCES)
        .migrate(&mut client)
        .await
        .expect_err("a gap filled afterwards");
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("V2__late"), "{error}");
}

/// Grants to all functions at once touch the retired one too; it must be found nevertheless.
#[tokio::test]
async fn a_retired_signature_left_behind_is_refused() {
    let (_db, mut client) = installed(&items()).await;
    let wider = (
        ITEM_SIZE.0,
        "create or replace function occupancy.item_size(id bigint) returns int
         language sql set search_path = pg_catalog, pg_temp as 'select 1';",
    );
    let sources = [wider, ITEMS, SIZES, GRANTS];
    let error = runner(RELEASE, &MIGRATIONS, &sources)
        .migrate(&mut client)
        .await
        .expect_err("a retired signature");
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert_eq!(detail(&error), "function occupancy.item_size(integer)");
    assert!(hint(&error).contains("drop what was retired in a migration"), "{}", hint(&error));
    assert!(items().migrate(&mut client).await.expect("nothing happened").is_no_op());

    let drop =
        ("V2__retire.sql", "-- compatibility: breaking\ndrop function occupancy.item_size(int);");
    let runner = runner(RELEASE, &[ITEM, drop], &sources);
    let report = runner.migrate(&mut client).await.expect("properly retired");
    assert_eq!(report.applied, ["V2__retire"]);
    assert_eq!(runner.verify(&mut client).await.expect("a comparison"), []);
    let marked = "select count(*) from pg_proc where proconfig::text like '%retired%'";
    assert_eq!(number(&client, marked).await, 0);
}

#[tokio::test]
async fn a_retired_view_or_aggregate_left_behind_is_refused() {
    let (_db, mut client) = installed(&items()).await;
    let all = (
        "sql/90_grants/grants.sql",
        "grant select on all tables in schema occupancy to occupancy_viewer;
         grant execute on all routines in schema occupancy to occupancy_viewer;",
    );
    let error = runner(RELEASE, &MIGRATIONS, &[ITEM_SIZE, all])
        .migrate(&mut client)
        .await
        .expect_err("a retired view");
    assert_eq!(detail(&error), "aggregate occupancy.sizes(integer), view occupancy.items");
}

#[tokio::test]
async fn a_stranger_in_the_schema_is_named() {
    let (_db, mut client) = installed(&items()).await;
    execute(&client, "create function occupancy.mine() returns int language sql as 'select 1'")
        .await;
    let error = runner(RELEASE, &[ITEM, LABEL], &SOURCES)
        .migrate(&mut client)
        .await
        .expect_err("an object of another owner");
    assert_eq!(detail(&error), "function occupancy.mine()");
}

#[tokio::test]
async fn a_grant_that_the_sources_no_longer_give_is_gone() {
    let (_db, mut client) = installed(&items()).await;
    let manager = "select has_function_privilege('occupancy_manager',
                                                 'occupancy.item_size(int)', 'execute')::int::bigint";
    assert_eq!(number(&client, manager).await, 1);
    runner(RELEASE, &MIGRATIONS, &[ITEM_SIZE, ITEMS, SIZES])
        .migrate(&mut client)
        .await
        .expect("an upgrade");
    assert_eq!(number(&client, manager).await, 0);
}

#[tokio::test]
async fn nothing_is_for_everybody_and_everything_is_the_owners() {
    let (_db, client) = installed(&items()).await;
    let public = "select count(*)
                    from (select proacl from pg_proc where pronamespace = 'occupancy'::regnamespace
                          union all
                          select relacl from pg_class where relnamespace = 'occupancy'::regnamespace
                          union all
                          select nspacl from pg_namespace where nspname = 'occupancy') as object (acl),
                         aclexplode(acl) as item
                   where item.grantee = 0";
    assert_eq!(number(&client, public).await, 0);
    let others = "select count(*)
                    from (select proowner from pg_proc where pronamespace = 'occupancy'::regnamespace
                          union all
                          select relowner from pg_class where relnamespace = 'occupancy'::regnamespace
                         ) as object (owner)
                   where owner <> 'occupancy_owner'::regrole";
    assert_eq!(number(&client, others).await, 0);
}

#[tokio::test]
async fn a_client_accepts_additive_migrations_that_it_does_not_know() {
    let (_db, mut client) = installed(&runner([1, 1, 0], &[ITEM, LABEL], &SOURCES)).await;
    let old = items();
    old.check(&client).await.expect("additive is fine");
    let status = old.status(&client).await.expect("a status");
    assert_eq!(status.migrations[1].name, "label");
    assert_eq!(status.migrations[1].state, MigrationState::Unknown);
    assert!(old.migrate(&mut client).await.expect("nothing to do").is_no_op());
}

#[tokio::test]
async fn a_client_refuses_a_breaking_migration_that_it_does_not_know() {
    let breaking = ("V2__smaller.sql", "-- compatibility: breaking\nselect 1;");
    let (_db, mut client) = installed(&runner([1, 1, 0], &[ITEM, breaking], &SOURCES)).await;
    for error in [
        items().check(&client).await.expect_err("too new"),
        items().migrate(&mut client).await.expect_err("too new"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert_eq!(error.to_string(), "the schema is too new for this release of occupancy");
        assert!(detail(&error).starts_with("V2__smaller is a breaking migration"));
    }
}

#[tokio::test]
async fn a_client_refuses_a_schema_that_lacks_a_migration_that_it_knows() {
    let (_db, client) = installed(&items()).await;
    let new = runner([1, 1, 0], &[ITEM, LABEL], &SOURCES);
    let error = new.check(&client).await.expect_err("too old");
    assert_eq!(detail(&error), "V2__label was not applied");
    assert_eq!(hint(&error), "run `occupancy migrate`");
    let status = new.status(&client).await.expect("a status");
    assert_eq!(status.migrations[1].state, MigrationState::Pending);
}

#[tokio::test]
async fn a_client_says_that_nothing_is_installed() {
    let db = empty_database().await;
    let mut client = db.connect().await;
    for error in [
        items().check(&client).await.expect_err("nothing there"),
        items().verify(&mut client).await.expect_err("nothing there"),
    ] {
        assert_eq!(error.to_string(), "the occupancy schema is not installed in this database");
        assert_eq!(hint(&error), "run `occupancy migrate`");
    }
    let status = items().status(&client).await.expect("a status");
    assert_eq!(status.sources, SourcesState::Missing);
    assert_eq!(status.migrations[0].state, MigrationState::Pending);
}

#[tokio::test]
async fn a_viewer_may_check_and_ask_for_the_status() {
    let (_db, client) = installed(&items()).await;
    execute(&client, "set session authorization occupancy_viewer").await;
    items().check(&client).await.expect("a schema that fits");
    assert_eq!(items().status(&client).await.expect("a status").sources, SourcesState::Current);
}

/// An old process that is restarted during a rolling upgrade migrates too. It must not put its
/// own, older functions over the new ones.
#[tokio::test]
async fn an_old_release_leaves_newer_sources_alone() {
    let newer = (
        ITEM_SIZE.0,
        "create or replace function occupancy.item_size(id int) returns int
         language sql set search_path = pg_catalog, pg_temp as 'select 42';",
    );
    for (release, migrations) in
        [([1, 0, 1], &[ITEM] as &[(&str, &str)]), ([1, 0, 0], &[ITEM, LABEL])]
    {
        let (_db, mut client) = installed(&runner(release, migrations, &[newer, ITEMS])).await;
        let report = items().migrate(&mut client).await.expect("nothing to do");
        assert_eq!(report, MigrationReport { applied: vec![], sources: SourcesOutcome::KeptNewer });
        assert_eq!(number(&client, "select occupancy.item_size(1)::bigint").await, 42);
        assert_eq!(items().status(&client).await.expect("a status").sources, SourcesState::Newer);
    }
}

/// A migration that waits for a table in use stands in front of every later reader. It must give
/// way while the table is still in use, and come back.
#[tokio::test]
async fn a_waiting_migration_gives_way_to_readers_and_succeeds_in_the_end() {
    let (db, holder) = installed(&items()).await;
    execute(&holder, "begin; select from occupancy.item").await;
    let (observer, reader, mut migrator) =
        (db.connect().await, db.connect().await, db.connect().await);
    let (migrator_pid, reader_pid) = (pid(&migrator).await, pid(&reader).await);

    let migration = tokio::spawn(async move {
        runner(RELEASE, &[ITEM, LABEL], &SOURCES).migrate(&mut migrator).await
    });
    until_blocked(&observer, migrator_pid).await;
    let read = tokio::spawn(async move { reader.query("select from occupancy.item", &[]).await });
    until_blocked(&observer, reader_pid).await;
    within(read).await.expect("no panic").expect("a read while the table is still in use");
    assert!(!migration.is_finished(), "the holder still keeps the migration out");

    execute(&holder, "commit").await;
    let report = within(migration).await.expect("no panic").expect("an upgrade");
    assert_eq!(report.applied, ["V2__label"]);
}

fn difference(kind: &str, identity: &str, change: Change) -> Difference {
    Difference { kind: kind.into(), identity: identity.into(), change }
}

#[tokio::test]
async fn verify_finds_what_was_changed_by_hand() {
    let function = "occupancy.item_size(integer)";
    let column = "occupancy.item.size";
    let cases = [
        (
            "create or replace function occupancy.item_size(id int) returns int
             language sql stable set search_path = pg_catalog, pg_temp as 'select 0'",
            vec![difference("function", function, Change::Definition)],
        ),
        (
            "drop function occupancy.item_size(int)",
            vec![difference("function", function, Change::Missing)],
        ),
        (
            "create function occupancy.extra() returns int language sql as 'select 1'",
            vec![difference("function", "occupancy.extra()", Change::Extra)],
        ),
        (
            "grant execute on function occupancy.item_size(int) to public",
            vec![difference("function", function, Change::Grants)],
        ),
        (
            "alter function occupancy.item_size(int) owner to current_user",
            vec![difference("function", function, Change::Grants)],
        ),
        (
            "comment on function occupancy.item_size(int) is 'mine'",
            vec![difference("function", function, Change::Comment)],
        ),
        (
            "create or replace view occupancy.items as select id, size from occupancy.item where size > 1",
            vec![difference("view", "occupancy.items", Change::Definition)],
        ),
        (
            "create or replace aggregate occupancy.sizes(int) (sfunc = int4mul, stype = int, initcond = 1)",
            vec![difference("aggregate", "occupancy.sizes(integer)", Change::Definition)],
        ),
        (
            "grant usage on schema occupancy to public",
            vec![difference("schema", "occupancy", Change::Grants)],
        ),
        (
            "alter table occupancy.item alter column size set default 3",
            vec![difference("column", column, Change::Definition)],
        ),
        (
            "alter table occupancy.item drop constraint item_size_check",
            vec![difference("constraint", "occupancy.item.item_size_check", Change::Missing)],
        ),
        (
            "drop index occupancy.item_size",
            vec![difference("index", "occupancy.item_size", Change::Missing)],
        ),
        (
            "alter type occupancy.measure add attribute label text",
            vec![difference("column", "occupancy.measure.label", Change::Extra)],
        ),
        (
            "alter table occupancy.item set (fillfactor = 50)",
            vec![difference("table", "occupancy.item", Change::Definition)],
        ),
        (
            "alter table occupancy.item disable trigger all;
             create trigger seen before insert on occupancy.item
                 for each row execute function suppress_redundant_updates_trigger()",
            vec![difference("trigger", "occupancy.item.seen", Change::Extra)],
        ),
        (
            "create type occupancy.colour as enum ('red')",
            vec![difference("type", "occupancy.colour", Change::Extra)],
        ),
    ];
    for (change, expected) in cases {
        let (_db, mut client) = installed(&items()).await;
        assert_eq!(items().verify(&mut client).await.expect("a comparison"), [], "at first");
        execute(&client, change).await;
        assert_eq!(items().verify(&mut client).await.expect("a comparison"), expected, "{change}");
    }
}

/// Runs a script as a person would; `Err` is what psql printed.
fn psql(db: &TestDb, script: &str) -> Result<(), String> {
    let mut psql = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--file", "-", db.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql is installed");
    let mut input = psql.stdin.take().expect("a pipe");
    // psql stops reading at the first error.
    let _ = input.write_all(script.as_bytes());
    drop(input);
    let output = psql.wait_with_output().expect("an exit");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && printed.is_empty() { Ok(()) } else { Err(printed) }
}

async fn assert_up_to_date(runner: &Runner, client: &mut Client) {
    let status = runner.status(client).await.expect("a status");
    assert_eq!(status.sources, SourcesState::Current);
    for migration in status.migrations {
        assert_eq!(migration.state, MigrationState::Applied, "{}", migration.name);
    }
    runner.check(client).await.expect("a schema that fits");
    assert!(runner.migrate(client).await.expect("nothing to do").is_no_op());
    assert_eq!(runner.verify(client).await.expect("a comparison"), []);
}

#[tokio::test]
async fn the_script_for_psql_does_what_migrate_does() {
    for runner in [items(), Runner::embedded().expect("well-formed files")] {
        let db = empty_database().await;
        psql(&db, &runner.install_script()).expect("an installation");
        let mut client = db.connect().await;
        assert_up_to_date(&runner, &mut client).await;

        let (_other_db, other) = installed(&runner).await;
        let objects =
            "select jsonb_agg(o order by kind, identity)::text from occupancy.schema_object o";
        let by_psql: String = client.query_one(objects, &[]).await.expect("objects").get(0);
        let by_runner: String = other.query_one(objects, &[]).await.expect("objects").get(0);
        assert_eq!(by_psql, by_runner);

        psql(&db, &runner.install_script()).expect("the same again");
        assert_up_to_date(&runner, &mut client).await;
    }
}

#[tokio::test]
async fn the_script_for_psql_upgrades_and_refuses_to_downgrade() {
    let (db, mut client) = installed(&items()).await;
    let new = runner([1, 1, 0], &[ITEM, LABEL], &SOURCES);
    psql(&db, &new.install_script()).expect("an upgrade");
    assert_up_to_date(&new, &mut client).await;
    assert_eq!(new.status(&client).await.expect("a status").migrations[1].name, "label");

    let printed = psql(&db, &items().install_script()).expect_err("a downgrade");
    assert!(printed.contains("the schema is newer than this script"), "{printed}");
    let kept = runner([1, 1, 0], &[ITEM], &SOURCES).install_script();
    let printed = psql(&db, &kept).expect_err("an unknown migration");
    assert!(printed.contains("the schema is newer than this script"), "{printed}");
    assert_up_to_date(&new, &mut client).await;
}

#[tokio::test]
async fn the_script_for_psql_refuses_what_was_retired() {
    let (db, mut client) = installed(&items()).await;
    let printed = psql(&db, &runner(RELEASE, &MIGRATIONS, &[ITEMS, SIZES]).install_script())
        .expect_err("a retired function");
    assert!(printed.contains("function occupancy.item_size(integer)"), "{printed}");
    assert_up_to_date(&items(), &mut client).await;
}

/// Roles belong to the cluster that all tests share, so those that are to be missing get names of
/// their own.
struct Roles {
    prefix: String,
    user: String,
}

impl Roles {
    async fn new(admin: &Client) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let roles = Self { prefix: format!("t{id}_"), user: format!("u{id}") };
        execute(admin, &format!("create role {}", roles.user)).await;
        roles
    }

    fn script(&self) -> String {
        ROLES.replace("occupancy_", &self.prefix)
    }

    async fn become_user(&self, client: &Client) {
        execute(client, &format!("set session authorization {}", self.user)).await;
    }

    async fn drop(self, admin: &Client) {
        let roles =
            "select coalesce(string_agg(format('drop owned by %1$I; drop role %1$I;', rolname), ' '
                                                order by rolname), '')
                       from pg_roles where starts_with(rolname, $1) or rolname = $2";
        let row = admin.query_one(roles, &[&self.prefix, &self.user]).await.expect("roles");
        execute(admin, row.get(0)).await;
    }
}

/// Two databases of one new cluster are migrated at once: their locks are apart, their roles are
/// not. The second waits for the first, and goes on with what it made.
#[tokio::test]
async fn two_databases_may_create_the_roles_at_once() {
    let (one_db, two_db) = (empty_database().await, empty_database().await);
    let (one, two) = (one_db.connect().await, two_db.connect().await);
    let two_pid = pid(&two).await;
    let roles = Roles::new(&one).await;
    let script = roles.script();

    execute(&one, &format!("begin; {script}")).await;
    let second = tokio::spawn(async move {
        execute(&two, &format!("begin; {script}; commit")).await;
    });
    until_blocked(&one, two_pid).await;
    execute(&one, "commit").await;
    within(second).await.expect("the roles of the first");

    let admins = format!(
        "select pg_has_role('{0}admin', '{0}manager', 'usage')::int::bigint
              + pg_has_role('{0}admin', '{0}viewer', 'usage')::int::bigint
              + pg_has_role('{0}manager', '{0}admin', 'member')::int::bigint",
        roles.prefix
    );
    assert_eq!(number(&one, &admins).await, 2);
    roles.drop(&one).await;
}

#[tokio::test]
async fn a_user_who_may_create_roles_needs_no_superuser() {
    let db = empty_database().await;
    let (admin, client) = (db.connect().await, db.connect().await);
    let roles = Roles::new(&admin).await;
    let (script, user) = (roles.script(), &roles.user);
    execute(
        &admin,
        &format!(
            "alter role {user} createrole;
             do $$ begin execute format('grant create on database %I to {user}', current_database()); end $$"
        ),
    )
    .await;
    roles.become_user(&client).await;
    execute(&client, &script).await;
    execute(&client, &format!("set role {}owner; reset role", roles.prefix)).await;
    execute(&client, &script).await;
    roles.drop(&admin).await;
}

/// The commands of the hint are all that it takes.
#[tokio::test]
async fn whoever_lacks_everything_is_told_all_of_it_at_once() {
    let db = empty_database().await;
    let (admin, client) = (db.connect().await, db.connect().await);
    let roles = Roles::new(&admin).await;
    let (script, prefix, user) = (roles.script(), &roles.prefix, &roles.user);
    roles.become_user(&client).await;

    let error: Error = client.batch_execute(&script).await.expect_err("no rights at all").into();
    assert_eq!(error.sqlstate(), Some("42501"));
    for role in ["owner", "admin", "manager", "viewer"] {
        assert!(
            detail(&error).contains(&format!("role {prefix}{role} does not exist")),
            "{error:?}"
        );
    }
    assert!(detail(&error).contains(&format!("{user} may not create a schema in database")));

    let commands = hint(&error).strip_prefix("as a superuser run: ").expect("commands");
    execute(&admin, commands).await;
    execute(&client, &script).await;
    roles.drop(&admin).await;
}

#[tokio::test]
async fn an_ordinary_user_installs_where_the_roles_are_ready() {
    let (_ready, admin) = installed(&items()).await;
    let db = empty_database().await;
    let (superuser, mut client) = (db.connect().await, db.connect().await);
    let roles = Roles::new(&admin).await;
    let user = &roles.user;
    roles.become_user(&client).await;

    execute(
        &superuser,
        &format!(
            "do $$ begin execute format('grant create on database %I to {user}', current_database()); end $$"
        ),
    )
    .await;
    let error = items().migrate(&mut client).await.expect_err("no member");
    assert_eq!(
        detail(&error),
        format!("{user} may not SET ROLE occupancy_owner (in sql/00_roles/roles.sql)")
    );
    assert_eq!(hint(&error), format!("as a superuser run: grant occupancy_owner to {user};"));

    execute(
        &superuser,
        &format!(
            "grant occupancy_owner to {user};
             do $$ begin execute format('revoke create on database %I from {user}', current_database()); end $$"
        ),
    )
    .await;
    let error = items().migrate(&mut client).await.expect_err("no CREATE");
    assert!(
        detail(&error).starts_with(&format!("{user} may not create a schema in database")),
        "{error:?}"
    );
    assert!(!detail(&error).contains(';'), "{error:?}");
    assert!(hint(&error).starts_with("as a superuser run: grant create on database"), "{error:?}");

    execute(&superuser, hint(&error).strip_prefix("as a superuser run: ").expect("a command"))
        .await;
    items().migrate(&mut client).await.expect("an installation");
    assert_up_to_date(&items(), &mut client).await;
    roles.drop(&superuser).await;
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_left_to_them() {
    let (_ready, _admin) = installed(&items()).await;
    let db = empty_database().await;
    let mut client = db.connect().await;
    execute(&client, "create schema occupancy").await;
    let error = items().migrate(&mut client).await.expect_err("a schema of another owner");
    assert!(detail(&error).starts_with("schema occupancy exists and belongs to"), "{error:?}");
    assert_eq!(
        hint(&error),
        "as a superuser run: alter schema occupancy owner to occupancy_owner;"
    );
}
