//! The bench: what its figures are compared with is honest, it reports what it should, and leaves
//! nothing behind. No test looks at how fast anything is.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use occupancy::server::Durability;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::support::fixture::{Fixture, id};
use crate::support::{TestDb, connect, ephemeral, program, wait_for, with_database};

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Slots as they are stored, so that the floor has nothing to parse.
const SLOTS: &str = r#"{"cpu": "1", "mem": "1073741824"}"#;

/// The smallest sizes that still are what their names say.
const TINY: [&str; 16] = [
    "--keys",
    "20",
    "--agents",
    "5",
    "--batch",
    "20",
    "--ended",
    "200",
    "--live",
    "100",
    "--many",
    "50",
    "--waiting",
    "20",
    "--slices",
    "1",
];

struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// `occupancy bench` on a server.
fn bench(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("bench").args(["--database-url", url]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn finish(child: Child) -> Output {
    let ended = timeout(PATIENCE, child.wait_with_output()).await;
    let output = ended.expect("it ends").expect("its output can be read");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

async fn run(url: &str, arguments: &[&str]) -> Output {
    finish(bench(url, arguments).spawn().expect("it starts")).await
}

/// The JSON lines of a run that must succeed.
async fn lines(url: &str, arguments: &[&str]) -> Vec<Value> {
    let output = run(url, &[arguments, &TINY, &["--json"]].concat()).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Every scenario that is a contest of two teams on connections.
const SCENARIOS: [&str; 13] = [
    "cold",
    "pair",
    "hot-key",
    "hot-agent",
    "full",
    "quota4",
    "batch",
    "batch-rejected",
    "release-batch",
    "client-side",
    "history",
    "many-live",
    "many-agents",
];

/// Every scenario of managers that tick.
const TICKS: [&str; 5] = ["tick", "tick-shapes", "tick-managers", "tick-none-fits", "tick-history"];

/// Every scenario of a pool that wakes schedulers.
const WAKE_UPS: [&str; 3] = ["wake-ups", "wake-ups-batch", "wake-ups-awaited"];

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_of_wake_ups_gives_a_figure() {
    every_one_gives_a_figure(&WAKE_UPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_gives_a_figure() {
    every_one_gives_a_figure(&SCENARIOS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_of_ticks_gives_a_figure() {
    every_one_gives_a_figure(&TICKS).await;
}

async fn every_one_gives_a_figure(scenarios: &[&str]) {
    let db = TestDb::new().await;
    let options = ["--clients", "2", "--seconds", "0.1"];
    let figures = lines(db.url(), &[scenarios, &options].concat()).await;
    let names: Vec<_> = figures.iter().map(|figure| figure["scenario"].as_str()).collect();
    assert_eq!(names, scenarios.iter().map(|name| Some(*name)).collect::<Vec<_>>());
    for figure in &figures {
        assert_eq!(figure["clients"], 2, "{figure}");
        assert_eq!(figure["errors"], 0, "{figure}");
        assert_eq!(figure["ops_per_second_of_slices"].as_array().map(Vec::len), Some(1));
        let ours = number(&figure["ops_per_second"]);
        let floor = number(&figure["floor_ops_per_second"]);
        assert!(ours > 0.0 && floor > 0.0, "{figure}");
        assert!((number(&figure["ratio"]) - ours / floor).abs() < 1e-6, "{figure}");
        assert!(number(&figure["p50_us"]) <= number(&figure["p99_us"]), "{figure}");
        let cpu = [&figure["cpu_us"], &figure["floor_cpu_us"]];
        assert!(cpu.iter().all(|time| time.is_null() || number(time) > 0.0), "{figure}");
        let here = std::env::var_os("OCCUPANCY_TEST_URL").is_none();
        if here && std::path::Path::new("/proc/self/schedstat").exists() {
            assert!(cpu.iter().all(|time| !time.is_null()), "the server is here: {figure}");
        }
        for goal in [&figure["goal"], &figure["goal_ops_per_second"]] {
            assert!(goal.is_null() || number(goal) > 0.0, "{figure}");
        }
        let server = &figure["server"];
        assert!(server["version"].as_str().is_some_and(|text| text.starts_with("PostgreSQL ")));
        assert!(server["settings"]["fsync"].is_string() && server["durable"].is_boolean());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_can_be_prepared() {
    let db = TestDb::new().await;
    let figures =
        lines(db.url(), &["pair", "batch", "--prepared", "--clients", "1", "--seconds", "0.1"])
            .await;
    assert_eq!(figures.len(), 2);
    assert!(figures.iter().all(|figure| figure["protocol"] == "prepared"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_measured_beside_pgbench() {
    let db = TestDb::new().await;
    let arguments = ["client", "--clients", "2", "--seconds", "0.1"];
    let figures = lines(db.url(), &arguments).await;
    assert_eq!(figures[0]["beside"], "pgbench");
    assert!(number(&figures[0]["ratio"]) > 0.0);

    let without = [&arguments[..], &TINY].concat();
    let child = bench(db.url(), &without).env("PATH", "/nonexistent").spawn().expect("it starts");
    let output = finish(child).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{}", output.stderr);
    assert!(output.stderr.contains("cannot run pgbench"), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_table_and_the_conditions() {
    let db = TestDb::new().await;
    let arguments = ["full", "--clients", "1,2", "--seconds", "0.1"];
    let output = run(db.url(), &[&arguments[..], &TINY].concat()).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let table: Vec<_> = output.stdout.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    assert!(table[0].starts_with("PostgreSQL "), "{}", output.stdout);
    assert!(table.iter().any(|line| line.starts_with("SCENARIO")), "{}", output.stdout);
    let rows: Vec<_> = table.iter().filter(|line| line.starts_with("full ")).collect();
    assert_eq!(rows.len(), 2, "{}", output.stdout);
}

/// A tick is held to sessions per second, and to others of its kind.
#[tokio::test(flavor = "multi_thread")]
async fn ticks_are_shown_beside_their_goals() {
    let db = TestDb::new().await;
    let arguments = ["tick", "tick-managers", "--seconds", "0.1"];
    let output = run(db.url(), &[&arguments[..], &TINY].concat()).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let row = |name: &str| {
        let row = output.stdout.lines().find(|line| line.starts_with(name));
        row.unwrap_or_else(|| panic!("{name} is not in {}", output.stdout)).to_owned()
    };
    assert!(row("tick ").contains(" reserve_sessions "), "{}", output.stdout);
    assert!(row("tick ").contains(" 5000/s"), "{}", output.stdout);
    let managers = row("tick-managers ");
    assert!(managers.contains(" 4 ") && managers.contains(" one manager "), "{managers}");
}

/// The page of figures is written by the command and not by hand.
#[tokio::test(flavor = "multi_thread")]
async fn the_published_table_is_printed_as_the_page_has_it() {
    let db = TestDb::new().await;
    let arguments = ["cold", "batch", "--clients", "1,4,16", "--seconds", "0.1", "--markdown"];
    let output = run(db.url(), &[&arguments[..], &TINY].concat()).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let lines: Vec<_> = output.stdout.lines().collect();
    assert_eq!(lines[0], "```text");
    assert!(lines[1].starts_with("PostgreSQL "), "{}", output.stdout);
    let table: Vec<_> = lines.iter().filter(|line| line.starts_with('|')).collect();
    assert!(table.iter().all(|line| line.matches('|').count() == 12), "{}", output.stdout);
    assert!(table[1].starts_with("| --- | ---: |"), "{}", output.stdout);
    assert_eq!(table.iter().filter(|line| line.starts_with("| `cold` |")).count(), 3);
    // What a batch is held to beyond its floor: each against `cold` with 16, four against one.
    let beyond: Vec<_> = lines.iter().filter(|line| line.starts_with("- `batch` with ")).collect();
    assert_eq!(beyond.len(), 4, "{}", output.stdout);
    assert!(beyond[3].starts_with("- `batch` with 4 clients to `batch` with 1 client: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_tells_what_creeps() {
    let db = TestDb::new().await;
    let arguments = ["soak", "--pairs", "203", "--clients", "2", "--retention", "0.01", "--json"];
    let output = run(db.url(), &arguments).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let runs: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let company: Vec<_> =
        runs.iter().map(|run| (&run["idle_transaction"], &run["limit_seconds"])).collect();
    assert_eq!(company, [(&json!(false), &Value::Null), (&json!(true), &json!(900.0))]);
    for run in &runs {
        assert_eq!((&run["pairs"], &run["errors"]), (&json!(203), &json!(0)));
        assert_eq!((&run["pairs_planned"], &run["complete"]), (&json!(203), &json!(true)));
        assert_eq!(run["pairs_per_second"].as_array().map(Vec::len), Some(10));
        assert!(number(&run["ratio"]) > 0.0);
        assert!(number(&run["hot_share"]["keypair"]) > 0.0);
        assert!(number(&run["pruned"]) > 0.0, "what ended in the warm-up is older than 10 ms");
        let sizes = run["relations"].as_array().expect("relations");
        let session = sizes.iter().find(|size| size["relation"] == "session").expect("session");
        assert_eq!(session["remembers"], true);
        let live = sizes.iter().find(|size| size["relation"] == "session_live").expect("an index");
        assert_eq!(live["remembers"], false);
        assert!(run["missed"].is_array());
        assert_eq!(run["sizes_settled"], false, "203 pairs are done before autovacuum comes");
        assert_eq!(run["goals_reached"], false, "so few tell nothing of sizes");
        let open = run["not_judged"].as_array().expect("an array");
        assert!(open.iter().any(|what| what.as_str().is_some_and(|what| what.contains("sizes"))));
        assert!(number(&session["end_bytes"]) >= number(&session["first_tenth_bytes"]));
    }
}

/// The fewest that anybody may ask for have no tenths, and the idle transaction may be left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_hardly_any_pairs_claims_nothing() {
    let db = TestDb::new().await;
    let arguments = ["soak", "--pairs", "3", "--clients", "2", "--idle-minutes", "0"];
    let output = run(db.url(), &arguments).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let has = |line: &str| {
        assert!(output.stdout.contains(line), "{line:?} is missing in {}", output.stdout);
    };
    has("\n\nalone: 3 of 3 pairs with 2 clients in 0 s, 0 errors\n");
    has("\npairs per second of each tenth: -\nlast tenth to first: -\n");
    has("not judged: speed, since ");
    has("not judged: updates in place, since ");
    has("not judged: sizes, since ");
    assert!(!output.stdout.contains("idle"), "{}", output.stdout);
    assert!(!output.stdout.contains("MISSED"), "{}", output.stdout);
}

/// A soak with one client, in whose second run each reservation stumbles: over statements of plpgsql
/// that know which one it is.
async fn soak_that_stumbles(url: &str, admin: &Client, more: &[&str], stumble: &str) -> Child {
    let arguments = [&["soak", "--clients", "1", "--pairs", "600"], more].concat();
    let child = bench(url, &arguments).spawn().expect("it starts");
    wait_until_measuring(admin).await;
    // What the first run's database is a copy of will be copied once more.
    let template = left(admin).await.into_iter().min_by_key(String::len).expect("databases");
    let template = connect(&with_database(url, &template)).await;
    let trap = format!(
        "create sequence public.reservation;
         grant usage on sequence public.reservation to public;
         create function public.stumble() returns trigger language plpgsql as $$
         declare
           nth constant bigint := nextval('public.reservation');
         begin
           {stumble}
           return new;
         end $$;
         create trigger stumble before insert on occupancy.session
         for each row execute function public.stumble()"
    );
    template.batch_execute(&trap).await.expect("a trigger can be made");
    child
}

/// A soak whose second run stands still among its pairs, later than those that only warm up.
async fn soak_that_stands_still(url: &str, admin: &Client, more: &[&str]) -> Child {
    let stumble = "if nth > 450 then perform pg_sleep(3600); end if;";
    let child = soak_that_stumbles(url, admin, more, stumble).await;
    wait_for("a client that stands still", async || {
        let sql = "select exists (select from pg_stat_activity
                     where datname ~ '^occupancy_bench_' and wait_event = 'PgSleep')";
        admin.query_one(sql, &[]).await.expect("activity can be seen").get(0)
    })
    .await;
    child
}

/// A quarter of an hour's work is not lost with what comes after it.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_is_reported_whatever_becomes_of_the_second() {
    let server = ephemeral(Durability::None).await;
    let admin = connect(server.url()).await;

    let child = soak_that_stands_still(server.url(), &admin, &["--json"]).await;
    let pid = Pid::from_raw(child.id().expect("it runs").cast_signed());
    kill(pid, Signal::SIGINT).expect("it runs");
    let interrupted = finish(child).await;
    assert_eq!(interrupted.code, Some(130), "{}", interrupted.stderr);
    let report: Value = serde_json::from_str(&interrupted.stdout).expect("one line of JSON");
    assert_eq!((&report["idle_transaction"], &report["pairs"]), (&json!(false), &json!(600)));
    assert!(report["missed"].is_array() && report["goals_reached"].is_boolean(), "{report}");
    assert_eq!(left(&admin).await, [""; 0]);

    let child = soak_that_stands_still(server.url(), &admin, &[]).await;
    server.stop().await.expect("it stops");
    let stopped = finish(child).await;
    assert_eq!(stopped.code, Some(1), "{}", stopped.stderr);
    assert!(stopped.stdout.contains("\n\nalone: 600 of 600 pairs with 1 client in "));
    assert_eq!(stopped.stdout.matches("RELATION").count(), 1, "{}", stopped.stdout);
    let told = "the server went away while `soak` beside an idle transaction was measured";
    assert!(stopped.stderr.contains(told), "{}", stopped.stderr);
}

/// Beside an idle transaction a run would go on for hours. Here each reservation takes 10 ms, so that
/// no machine makes all of them in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_time_is_up_tells_how_far_it_got_and_claims_nothing_of_the_rest() {
    let server = ephemeral(Durability::None).await;
    let admin = connect(server.url()).await;
    let slowly = "perform pg_sleep(0.01);";

    let bound = ["--idle-minutes", "0.01", "--json"];
    let child = soak_that_stumbles(server.url(), &admin, &bound, slowly).await;
    let output = finish(child).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let runs: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(runs.len(), 2, "{}", output.stdout);
    assert_eq!((&runs[0]["complete"], &runs[0]["pairs"]), (&json!(true), &json!(600)));
    let cut = &runs[1];
    let pairs = cut["pairs"].as_u64().expect("a number");
    assert!((1..600).contains(&pairs), "{cut}");
    assert_eq!((&cut["complete"], &cut["pairs_planned"]), (&json!(false), &json!(600)));
    assert_eq!(cut["limit_seconds"], 0.6, "{cut}");
    // The tenths are of what was made, and each reservation of it took 10 ms at least.
    let speeds = cut["pairs_per_second"].as_array().expect("an array");
    assert_eq!(speeds.len(), if pairs < 10 { 0 } else { 10 }, "{cut}");
    assert!(speeds.iter().all(|speed| (0.0..100.0).contains(&number(speed))), "{cut}");
    assert_eq!(cut["goals_reached"], false, "{cut}");
    let told = format!("all 600 pairs, since the time was up after {pairs}");
    assert!(cut["not_judged"].as_array().expect("an array").contains(&json!(told)), "{cut}");

    let bound = ["--idle-minutes", "0.01"];
    let child = soak_that_stumbles(server.url(), &admin, &bound, slowly).await;
    let output = finish(child).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let (_, cut) =
        output.stdout.split_once("\nbeside a transaction that is left idle: ").expect("it");
    let head = cut.lines().next().expect("a line");
    assert!(head.contains(" of 600 pairs with 1 client in "), "{head}");
    assert!(head.contains(" s, when the time was up (--idle-minutes), "), "{head}");
    assert!(cut.contains("not judged: all 600 pairs, since the time was up after "), "{cut}");
    assert!(cut.contains("\npairs per second of each tenth of these: "), "{cut}");
    assert!(!cut.contains("all reached"), "{cut}");
    assert_eq!(left(&admin).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_refused_before_anything_is_done() {
    for (arguments, part) in [
        (&["colt"][..], "'colt'"),
        (&["cold", "--clients", "0"], "0 is not in 1.."),
        (&["cold", "--seconds", "0"], "a number of seconds"),
        (&["cold", "--seconds", "soon"], "a number of seconds"),
        (&["cold", "--slices", "0"], "0 is not in 1.."),
        (&["tick", "--waiting", "1001"], "1001 is not in 1..=1000"),
        (&["soak", "--clients", "0"], "0 is not in 1.."),
        (&["soak", "--idle-minutes", "-1"], "0 or a number of minutes"),
        (&["soak", "--idle-minutes", "NaN"], "0 or a number of minutes"),
        (&["soak", "--idle-minutes", "0.001"], "0 or a number of minutes"),
        (&["cold", "soak"], "measured alone"),
        (&["--markdown", "soak"], "measured alone"),
        (&["--all", "cold"], "cannot be used with"),
        (&["--markdown", "--json"], "cannot be used with"),
    ] {
        let output = run("postgresql://nobody@127.0.0.1:1/none", arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(output.stderr.contains(part), "{arguments:?}: {}", output.stderr);
    }
}

/// The databases of runs on this server.
async fn left(admin: &Client) -> Vec<String> {
    let sql =
        "select datname::text from pg_database where starts_with(datname, 'occupancy_bench_')";
    let rows = admin.query(sql, &[]).await.expect("databases can be listed");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until a run's clients reserve.
async fn wait_until_measuring(admin: &Client) {
    wait_for("clients that reserve", async || {
        let sql = "select exists (select from pg_stat_activity
                     where datname ~ '^occupancy_bench_.*_' and query ~ 'reserve_session')";
        admin.query_one(sql, &[]).await.expect("activity can be seen").get(0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_run_leaves_a_database() {
    let server = ephemeral(Durability::None).await;
    let admin = connect(server.url()).await;

    let done = run(server.url(), &[&["cold", "--seconds", "0.1"][..], &TINY].concat()).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(left(&admin).await, [""; 0]);

    // The first scenario succeeds, and its figure is not printed without those of the others.
    let more = ["cold", "pair", "--clients", "1,400", "--seconds", "0.1"];
    let failed = run(server.url(), &[&more[..], &TINY].concat()).await;
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""), "{}", failed.stderr);
    assert!(failed.stderr.contains("`cold` with 400 clients"), "{}", failed.stderr);
    assert_eq!(left(&admin).await, [""; 0]);

    let long = ["cold", "--clients", "2", "--seconds", "600"];
    let child = bench(server.url(), &[&long[..], &TINY].concat()).spawn().expect("it starts");
    wait_until_measuring(&admin).await;
    let pid = Pid::from_raw(child.id().expect("it runs").cast_signed());
    kill(pid, Signal::SIGINT).expect("it runs");
    let interrupted = finish(child).await;
    assert_eq!((interrupted.code, interrupted.stdout.as_str()), (Some(130), ""));
    assert_eq!(left(&admin).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_an_error_and_no_figure() {
    let server = ephemeral(Durability::None).await;
    let admin = connect(server.url()).await;
    let long = ["cold", "pair", "--clients", "2", "--seconds", "600"];
    let child = bench(server.url(), &[&long[..], &TINY].concat()).spawn().expect("it starts");
    wait_until_measuring(&admin).await;
    server.stop().await.expect("it stops");
    let output = finish(child).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{}", output.stderr);
    assert!(output.stderr.contains("the server went away while `cold`"), "{}", output.stderr);
    assert!(output.stderr.contains("drop the databases whose names"), "{}", output.stderr);
}

/// Installs the bench's own functions.
async fn install(fixture: &Fixture) {
    fixture.run("create schema floor authorization occupancy_owner; create schema fill").await;
    for folder in ["floor", "fill"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(folder);
        if folder == "floor" {
            fixture.run("set role occupancy_owner").await;
        }
        for file in fs::read_dir(path).expect("the folder is there") {
            let sql = fs::read_to_string(file.expect("a file").path()).expect("text");
            fixture.run(&sql).await;
        }
        fixture.run("reset role").await;
    }
}

/// The fixture with a key `NK` in no domain, and the bench's functions.
async fn platform() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.run("select occupancy.put_keypair('NK', 'u3', 'open')").await;
    install(&fixture).await;
    fixture
}

/// Every row of every table without its moments, which no two runs share.
async fn rows_without_times(fixture: &Fixture) -> Map<String, Value> {
    let mut tables = fixture.snapshot().await;
    for rows in tables.values_mut().filter_map(Value::as_array_mut) {
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            for (_, value) in row.iter_mut().filter(|(name, _)| name.ends_with("_at")) {
                *value = json!(!value.is_null());
            }
        }
        rows.sort_by_key(ToString::to_string);
    }
    tables
}

/// What our functions and the floor's are asked for alike: a call of each.
fn asked_alike() -> [(String, String); 5] {
    let [alone, charged, first, second] = [1, 2, 3, 4].map(id);
    let [of_alone, of_charged, of_first, of_second] = [11, 12, 13, 14].map(id);
    let on = |agent, kernel_id| {
        format!(r#"[{{"agent": "{agent}", "kernel_id": "{kernel_id}", "slots": {SLOTS}}}]"#)
    };
    let (first_kernels, second_kernels) = (on("i-01", of_first), on("i-02", of_second));
    let sessions = format!("array['{first}', '{second}']::uuid[]");
    let kernels = format!(
        "array['{of_first}', '{of_second}']::uuid[], array['i-01', 'i-02'],
         array['{SLOTS}', '{SLOTS}']::jsonb[]"
    );
    let pairs = [
        (
            format!("reserve_session('{alone}', 'NK', '{}')", on("i-01", of_alone)),
            format!(
                "reserve_session(
                   '{alone}', 'NK', 'u3', null, 'g1', null, '{of_alone}', 'i-01', '{SLOTS}')"
            ),
        ),
        (
            format!(
                "reserve_session('{charged}', 'AK', '{}', project => 'p1')",
                on("i-02", of_charged)
            ),
            format!(
                "reserve_session_with_quotas(
                   '{charged}', 'AK', 'u1', 'p1', 'g1', 'd1', '{of_charged}', 'i-02', '{SLOTS}')"
            ),
        ),
        (
            format!(
                r#"reserve_sessions('[
                  {{"session_id": "{first}", "access_key": "NK", "kernels": {first_kernels}}},
                  {{"session_id": "{second}", "access_key": "NK", "kernels": {second_kernels}}}]')"#
            ),
            format!(
                "reserve_sessions({sessions}, array['NK', 'NK'], array['u3', 'u3'], 'g1', {kernels})"
            ),
        ),
        (
            format!("release_session('{alone}')"),
            format!("release_session('{alone}', 'NK', '{of_alone}', 'i-01', '{SLOTS}')"),
        ),
        (
            format!("release_sessions({sessions})"),
            format!("release_sessions({sessions}, array['NK', 'NK'], {kernels})"),
        ),
    ];
    pairs.map(|(ours, floor)| (format!("occupancy.{ours}"), format!("floor.{floor}")))
}

/// A floor that writes less than a reservation would flatter nobody but itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_floor_writes_what_our_functions_write() {
    let (ours, floor) = (platform().await, platform().await);
    for fixture in [&ours, &floor] {
        for quota in ["'user', 'u1'", "'project', 'p1'", "'domain', 'd1'"] {
            fixture.run(&format!("select occupancy.put_quota({quota}, 100)")).await;
        }
    }
    for (our_call, floor_call) in asked_alike() {
        let outcomes = |call| format!("select outcome from {call}");
        let our_answers = ours.rows(&outcomes(&our_call), &[]).await;
        assert_eq!(our_answers, floor.rows(&outcomes(&floor_call), &[]).await, "{our_call}");
        let [our_rows, floor_rows] =
            [rows_without_times(&ours).await, rows_without_times(&floor).await];
        assert_eq!(our_rows, floor_rows, "{our_call}");
    }
    floor.assert_sound().await;
}

/// So that a call of either costs the same before the first statement.
#[tokio::test(flavor = "multi_thread")]
async fn the_floor_has_the_attributes_of_our_functions() {
    let fixture = platform().await;
    let attributes = "proowner, prolang, provolatile, prosecdef, prorettype, proretset";
    for (floor, ours, attributes) in [
        ("reserve_session", "reserve_session", &*format!("{attributes}, proconfig")),
        ("reserve_session_with_quotas", "reserve_session", &format!("{attributes}, proconfig")),
        ("release_session", "release_session", &format!("{attributes}, proconfig")),
        ("read_admission", "reserve_session", &format!("{attributes}, proconfig")),
        // What a batch is set to is gone in its milliseconds; each has what is best for it.
        ("reserve_sessions", "reserve_sessions", attributes),
        ("release_sessions", "release_sessions", attributes),
    ] {
        let sql = format!(
            "select count(distinct ({attributes})) as kinds, count(*) as functions from pg_proc
              where oid in ('floor.{floor}'::regproc, 'occupancy.{ours}'::regproc)"
        );
        let row = fixture.row(&sql, &[]).await;
        assert_eq!(row, json!({ "kinds": 1, "functions": 2 }), "{floor}");
    }
}

/// Calls of the hot path in one transaction, more often than plans are made anew, and then how
/// often each table was read from end to end.
async fn full_scans(fixture: &Fixture) -> Map<String, Value> {
    fixture.run("begin").await;
    for round in 0..8_u128 {
        let at = |n: u128| id(1_000_000 * (round + 1) + n);
        let kernels = format!(
            r#"[{{"agent": "i-1", "kernel_id": "{}", "slots": {SLOTS}}},
                {{"agent": "i-2", "slots": {SLOTS}}}]"#,
            at(1)
        );
        let reserve = |session, key| {
            format!("reserve_session('{session}', '{key}', '{kernels}', project => 'project-1')")
        };
        let batch: Value = (10..20)
            .map(|n| {
                json!({ "session_id": at(n), "access_key": "AK-1", "project": "project-2",
                        "kernels": [{ "agent": "i-3", "slots": { "cpu": 1 } }] })
            })
            .collect();
        let ids: Vec<String> = (5..20).map(|n| at(n).to_string()).collect();
        for (call, outcome) in [
            (reserve(at(0), "AK-1"), "admitted"),
            (reserve(at(0), "AK-1"), "already_admitted"),
            (reserve(at(2), "AK-full"), "rejected"),
            (format!("settle_kernel('{}', '{{\"cpu\": 1}}')", at(1)), "settled"),
            (format!("terminate_session('{}')", at(0)), "terminating"),
            (format!("release_kernel('{}')", at(1)), "released"),
            (format!("release_session('{}')", at(0)), "released"),
        ] {
            assert_eq!(fixture.outcome(&call).await, outcome, "{call}");
        }
        fixture.run(&format!("select occupancy.reserve_sessions('{batch}')")).await;
        fixture.run(&format!("select occupancy.release_sessions('{{{}}}')", ids.join(","))).await;
    }
    let scans = full_scans_so_far(fixture).await;
    fixture.run("rollback").await;
    scans
}

/// The tables of the ledger that the present transaction read from end to end, and how often.
async fn full_scans_so_far(fixture: &Fixture) -> Map<String, Value> {
    let tables = fixture
        .row(
            "select jsonb_object_agg(relname, seq_scan) as seq_scans
               from pg_stat_xact_user_tables
              where schemaname = 'occupancy' and relname in (
                'session', 'kernel', 'session_concurrency', 'keypair', 'agent', 'quota')",
            &[],
        )
        .await;
    let Value::Object(seq_scans) = &tables["seq_scans"] else { panic!("{tables}") };
    assert_eq!(seq_scans.len(), 6, "{tables}");
    seq_scans
        .iter()
        .filter(|(_, scans)| **scans != 0)
        .map(|(t, n)| (t.clone(), n.clone()))
        .collect()
}

/// Tables of a page are read from end to end by whoever is not kept from it: were one of the functions
/// of the hot path to lose its index plans, it would be noticed.
async fn assert_every_function_is_looked_at(fixture: &mut Fixture) {
    for function in [
        "reserve_session",
        "release_session",
        "reserve_sessions",
        "release_sessions",
        "release_kernel",
        "terminate_session",
        "settle_kernel",
    ] {
        let alter = format!("alter function occupancy.{function}");
        fixture.run(&format!("{alter} reset enable_seqscan")).await;
        // Plans that were made before are not made anew.
        fixture.client = fixture.db.connect().await;
        assert_ne!(full_scans(fixture).await, Map::new(), "{function} reads by index anyway");
        fixture.run(&format!("{alter} set enable_seqscan = off")).await;
    }
    fixture.client = fixture.db.connect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hot_path_reads_by_index_whatever_the_planner_knows() {
    let mut fixture = platform().await;
    fixture.run("select fill.registry(20, 5, true)").await;
    assert_eq!(full_scans(&fixture).await, Map::new(), "hardly anything, never analysed");
    fixture.run("analyze").await;
    assert_eq!(full_scans(&fixture).await, Map::new(), "hardly anything, analysed");
    assert_every_function_is_looked_at(&mut fixture).await;

    fixture.run(&format!("select fill.sessions(90000, 10000, 1, 20, 5, '{SLOTS}')")).await;
    // Other connections than the one that planned for small tables, as managers come and go.
    let large = Fixture { client: fixture.db.connect().await, db: fixture.db };
    assert_eq!(full_scans(&large).await, Map::new(), "100,000 sessions, never analysed as such");
    large.run("analyze").await;
    assert_eq!(full_scans(&large).await, Map::new(), "100,000 sessions, analysed");
}

/// Only what is called a full scan scans everything.
#[tokio::test(flavor = "multi_thread")]
async fn one_key_or_agent_is_recounted_by_index_behind_a_long_history() {
    let fixture = platform().await;
    fixture.run("select fill.registry(100, 50, false)").await;
    fixture.run(&format!("select fill.sessions(90000, 10000, 1, 100, 50, '{SLOTS}')")).await;
    let kernels = r#"[{"agent": "i-1", "slots": {}}]"#;
    let reserve = format!("reserve_session('{}', 'AK-1', '{kernels}')", id(1));
    assert_eq!(fixture.outcome(&reserve).await, "admitted");
    for statistics in ["none", "all"] {
        fixture.run("begin").await;
        for call in [
            "recalc_concurrency('AK-1')".to_owned(),
            "recalc_agent('i-1')".to_owned(),
            format!("recalc_agents_by_session('{}')", id(1)),
        ] {
            let sql = format!("select * from occupancy.{call}");
            assert_eq!(fixture.rows(&sql, &[]).await, Vec::<Value>::new(), "{call}");
        }
        let mut scans = full_scans_so_far(&fixture).await;
        fixture.run("rollback").await;
        // The registry is small: there a scan is no slower.
        for registry in ["keypair", "agent", "quota"] {
            scans.remove(registry);
        }
        assert_eq!(scans, Map::new(), "statistics: {statistics}");
        fixture.run("analyze").await;
    }
}
