//! The `occupancy` command, as people and scripts meet it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{Place, TestDb, connect, empty_database, program, wait_for};

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(180);

const SESSION: &str = "00000000-0000-4000-8000-000000000001";
const KERNEL: &str = "00000000-0000-4000-8000-000000000002";
const NOBODY: &str = "00000000-0000-4000-8000-00000000000f";

/// How a command ended and what it wrote.
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Output {
    /// The one JSON value on standard output.
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.stdout, self.stderr))
    }
}

/// `occupancy` in an environment that names no server.
fn occupancy(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in
        ["DATABASE_URL", "PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER"]
    {
        command.env_remove(name);
    }
    command
}

async fn finish(mut command: Command) -> Output {
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs `occupancy` on a database.
async fn run(db: &TestDb, arguments: &[&str]) -> Output {
    let mut command = occupancy(arguments);
    command.env("DATABASE_URL", db.url());
    finish(command).await
}

/// Runs a command line without quotes, which must succeed.
async fn fine(db: &TestDb, line: &str) -> Output {
    let output = run(db, &line.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(output.code, Some(0), "{line}: {}{}", output.stdout, output.stderr);
    output
}

/// A key `AK` that may run one session, and an agent `i-01` with 8 cores.
async fn register(db: &TestDb) {
    fine(db, "policy put student --max-sessions 1 --max-system-sessions 1").await;
    fine(db, "key put AK --user alice --policy student --domain lab").await;
    fine(db, "agent put i-01 --slots cpu=8,mem=32g,cuda.shares=2").await;
}

async fn reserve(db: &TestDb) -> Output {
    let kernel = format!("agent=i-01,kernel_id={KERNEL},cpu=4,mem=16g,cuda.shares=0.5");
    run(db, &["reserve", "AK", "--session-id", SESSION, "--kernel", &kernel, "--json"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_and_ends_by_commands() {
    let db = TestDb::new().await;
    register(&db).await;
    let admitted = reserve(&db).await;
    assert_eq!(admitted.code, Some(0), "{}", admitted.stderr);
    assert_eq!(admitted.json()["outcome"], "admitted");
    assert_eq!(admitted.json()["kernels"][0]["slots"]["mem"], "17179869184");
    assert_eq!(reserve(&db).await.json()["outcome"], "already_admitted");

    let session = fine(&db, &format!("session {SESSION} --json")).await.json();
    assert_eq!((&session["status"], &session["domain"]), (&json!("RUNNING"), &json!("lab")));
    let settle = format!("settle {KERNEL} --slots cpu=4,mem=15g,cuda.shares=0.46 --json");
    assert_eq!(fine(&db, &settle).await.json()["outcome"], "settled");
    let status = fine(&db, "status --agent i-01 --json").await.json();
    assert_eq!(status["agent"]["occupied_slots"]["cuda.shares"], "0.46");
    assert_eq!(status["kernels"][0]["kernel_id"], KERNEL);

    let terminated = fine(&db, &format!("terminate {SESSION} --json")).await;
    assert_eq!(terminated.json()["outcome"], "terminating");
    let released = fine(&db, &format!("release-kernel {KERNEL} --json")).await.json();
    assert_eq!(released["outcome"], "released");
    assert_eq!(released["session_ended"], true);
    let both = fine(&db, &format!("release {SESSION} {NOBODY} --json")).await.json();
    assert_eq!(both[0], json!({ "session_id": SESSION, "outcome": "already_released" }));
    assert_eq!(both[1], json!({ "session_id": NOBODY, "outcome": "unknown" }));
    assert_eq!(fine(&db, "prune --older-than 0s --json").await.json(), json!({ "pruned": 2 }));
    assert_eq!(fine(&db, "audit --json").await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_holds_a_session_until_it_confirms_it() {
    let db = TestDb::new().await;
    register(&db).await;
    fine(&db, "policy put student").await;
    let holder = fine(&db, "manager register cron --ttl 10m --grace 0s --json").await.json();
    assert_eq!(holder["manager"], "cron");
    let named = format!("--manager cron --epoch {}", holder["epoch"]);
    let kernel = "--kernel agent=i-01,cpu=1";
    fine(&db, &format!("reserve AK --session-id {SESSION} {kernel} {named}")).await;
    fine(&db, &format!("reserve AK --session-id {NOBODY} {kernel}")).await;
    let leases = fine(&db, "manager leases --json").await.json();
    assert_eq!(leases.as_array().map(Vec::len), Some(1), "a plain reserve is nobody's: {leases}");
    assert_eq!((&leases[0]["session_id"], &leases[0]["state"]), (&json!(SESSION), &json!("held")));
    assert_eq!(fine(&db, "manager leases --suspect --json").await.json(), json!([]));
    let managers = fine(&db, "manager list --json").await.json();
    assert_eq!((&managers[0]["status"], &managers[0]["sessions"]), (&json!("ALIVE"), &json!(1)));
    assert_eq!(managers[0]["ttl_seconds"], 600.0);
    let beat = format!("manager beat cron {} --json", holder["epoch"]);
    assert_eq!(fine(&db, &beat).await.json()["outcome"], "alive");

    let other = fine(&db, "manager register other --json").await.json();
    let release = format!("release {SESSION} --manager other --epoch {}", other["epoch"]);
    let refused = run(&db, &release.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("OC009"), "{}", refused.stderr);
    let confirm = format!("confirm {SESSION} {named}");
    assert_eq!(fine(&db, &confirm).await.stdout, "confirmed\n");
    assert_eq!(fine(&db, &confirm).await.stdout, "already confirmed\n");
    assert_eq!(fine(&db, "reclaim").await.stdout, "nothing to reclaim\n");
    assert_eq!(fine(&db, "manager prune --json").await.json(), json!({ "pruned": 0 }));

    assert_eq!(fine(&db, "agent sweep --ttl 1h").await.stdout, "none is lost\n");
    let freed = fine(&db, "agent evacuate i-01 --json").await.json();
    assert_eq!(freed.as_array().map(Vec::len), Some(2), "{freed}");
    assert_eq!(fine(&db, "agent evacuate i-01").await.stdout, "it runs no kernel\n");
    let ended = run(&db, &confirm.split(' ').collect::<Vec<_>>()).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), "already released\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_waits_and_is_placed_by_commands() {
    let db = TestDb::new().await;
    register(&db).await;
    assert_eq!(fine(&db, "tick").await.stdout, "nobody waits\n");
    assert_eq!(fine(&db, "queue").await.stdout, "nobody waits\n");
    let enqueue =
        format!("enqueue AK --session-id {SESSION} --kernel cpu=4,mem=16g,cuda.shares=0.5");
    assert_eq!(fine(&db, &enqueue).await.stdout, format!("enqueued: session {SESSION}\n"));
    let again = fine(&db, &format!("{enqueue} --json")).await.json();
    assert_eq!(again["outcome"], "already_enqueued");
    let second = format!("enqueue AK --session-id {NOBODY} --kernel cpu=8 --priority 20 --json");
    fine(&db, &second).await;

    // The higher priority goes first, and the key may run one.
    let tick = fine(&db, "tick --selector concentrated --json").await.json();
    assert_eq!((&tick[0]["session_id"], &tick[0]["outcome"]), (&json!(NOBODY), &json!("placed")));
    assert_eq!(tick[0]["kernels"][0]["agent"], "i-01");
    assert_eq!(
        (&tick[1]["outcome"], &tick[1]["code"]),
        (&json!("waiting"), &json!("concurrency_limit"))
    );
    let tick = fine(&db, "tick --policy drf").await.stdout;
    assert!(tick.contains("access key AK runs 1 of at most 1 sessions"), "{tick}");
    assert!(tick.ends_with("\n0 placed, 1 wait\n"), "{tick}");

    let queue = fine(&db, "queue default --json").await.json();
    assert_eq!((&queue[0]["session_id"], &queue[0]["tries"]), (&json!(SESSION), &json!(2)));
    assert!(queue[0]["age_seconds"].as_f64().is_some_and(|age| (0.0..60.0).contains(&age)));
    let queue = fine(&db, "queue").await.stdout;
    assert!(queue.lines().any(|line| line.starts_with(SESSION)), "{queue}");
    assert_eq!(fine(&db, "queue elsewhere --json").await.json(), json!([]));

    let why = fine(&db, &format!("explain session {SESSION}")).await.stdout;
    for part in
        ["PENDING, waits since", "tried 2 times", "concurrency_limit: ", NOBODY, "to let it in: "]
    {
        assert!(why.contains(part), "{part} is not in {why}");
    }
    for of in ["agent i-01", "key AK"] {
        let holders = fine(&db, &format!("explain {of} --json")).await.json();
        assert_eq!(
            (&holders[0]["session_id"], &holders[0]["status"]),
            (&json!(NOBODY), &json!("SCHEDULED"))
        );
    }

    let placed = run(&db, &["cancel", NOBODY]).await;
    assert_eq!(placed.code, Some(4), "{}", placed.stderr);
    assert!(placed.stdout.starts_with("placed: "), "{}", placed.stdout);
    fine(&db, &format!("release {NOBODY}")).await;
    assert_eq!(fine(&db, "explain agent i-01").await.stdout, "nobody holds anything of it\n");
    assert_eq!(fine(&db, "expire --older-than 1h").await.stdout, "0 cancelled\n");
    assert_eq!(fine(&db, "expire --older-than 0s --json").await.json(), json!({ "expired": 1 }));
    assert_eq!(fine(&db, &format!("cancel {SESSION}")).await.stdout, "already cancelled\n");
    assert_eq!(fine(&db, "recalc queue AK --json").await.json(), json!([]));
    assert_eq!(fine(&db, "audit").await.stdout, "sound\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_wait_is_told_why() {
    let db = TestDb::new().await;
    register(&db).await;
    fine(&db, "policy put student --max-pending-sessions 1").await;
    fine(&db, &format!("enqueue AK --session-id {SESSION} --kernel cpu=1")).await;
    let full = run(&db, &["enqueue", "AK", "--kernel", "cpu=1"]).await;
    assert_eq!(full.code, Some(4), "{}", full.stderr);
    assert!(full.stdout.starts_with("rejected\n  pending_sessions: "), "{}", full.stdout);
    fine(&db, &format!("cancel {SESSION}")).await;

    for (line, code) in [
        ("enqueue NOBODY --kernel cpu=1", "OC002"),
        ("enqueue AK --kernel cpu=0x10", "OC001"),
        ("enqueue AK --kernel cpu=1,agent=nowhere", "OC003"),
        ("enqueue AK --kernel cpu=1 --priority 101", "OC005"),
        ("enqueue AK --kernel cpu=1 --priority -1", "OC005"),
        ("enqueue AK --kernel cpu=1 --starts-at 2030-01-01T09:00Z", "OC005"),
        (&format!("enqueue AK --kernel cpu=1 --depends-on {KERNEL}"), "OC004"),
        ("tick --max 0", "OC005"),
        ("tick --tries -1", "OC005"),
        (&format!("explain session {KERNEL}"), "OC004"),
        ("explain agent nowhere", "OC003"),
        ("explain key NOBODY", "OC002"),
        ("recalc queue NOBODY", "OC002"),
    ] {
        let output = run(&db, &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(output.code, Some(1), "{line}: {}{}", output.stdout, output.stderr);
        assert!(output.stderr.ends_with(&format!("code: {code}\n")), "{line}: {}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_kept_by_commands() {
    let db = TestDb::new().await;
    register(&db).await;
    assert_eq!(fine(&db, "policy put student --max-sessions 2").await.stdout, "replaced\n");
    assert_eq!(
        fine(&db, "quota put resource_group default --slots cpu=6").await.stdout,
        "created\n"
    );
    fine(&db, "agent put i-02 --group spare --slots {\"cpu\":0.5} --schedulable false").await;
    fine(&db, "key put OFF --user bob --policy student --inactive").await;
    reserve(&db).await;

    let policies = fine(&db, "policy list --json").await.json();
    assert_eq!(policies[0]["max_concurrent_sessions"], 2);
    let keys = fine(&db, "key list --json").await.json();
    assert_eq!((&keys[0]["compute_used"], &keys[1]["is_active"]), (&json!(1), &json!(false)));
    let quotas = fine(&db, "quota list --json").await.json();
    assert_eq!(quotas[0]["occupied_slots"]["cpu"], "4");
    let agents = fine(&db, "agent list --json").await.json();
    assert_eq!(agents[1]["available_slots"]["cpu"], "0.5");
    assert_eq!(agents[1]["schedulable"], false);

    for in_use in ["policy drop student", "key drop AK", "agent drop i-01"] {
        let output = run(&db, &in_use.split(' ').collect::<Vec<_>>()).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(4), "in use\n"), "{in_use}");
    }
    assert_eq!(fine(&db, "key clear AK --json").await.json(), json!({ "ended": 1 }));
    for gone in ["agent drop i-02", "key drop OFF", "quota drop resource_group default"] {
        assert_eq!(fine(&db, gone).await.stdout, "dropped\n");
        assert_eq!(fine(&db, gone).await.stdout, "unknown\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_has_an_exit_code_and_its_reasons() {
    let db = TestDb::new().await;
    register(&db).await;
    reserve(&db).await;
    let wish = ["AK", "--kernel", "agent=i-01,cpu=5"];
    let output = run(&db, &[&["reserve"], wish.as_slice()].concat()).await;
    assert_eq!(output.code, Some(4));
    let reason = "concurrency_limit: access key AK runs 1 of at most 1 sessions";
    assert!(output.stdout.contains(reason), "{}", output.stdout);

    let output = run(&db, &[&["check"], wish.as_slice()].concat()).await;
    assert_eq!(output.code, Some(4));
    for failed in ["concurrency_limit", "agent_capacity"] {
        let line = output.stdout.lines().find(|line| line.starts_with(failed)).expect(failed);
        assert!(line.contains(" NO "), "{line}");
    }
    let system = run(&db, &[&["check"], wish.as_slice(), &["--type", "system"]].concat()).await;
    let of_cpu =
        run(&db, &["check", "AK", "--kernel", "agent=i-01,cpu=4", "--type", "system"]).await;
    assert_eq!((system.code, of_cpu.code), (Some(4), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_shows_who_is_near_a_limit() {
    let db = TestDb::new().await;
    register(&db).await;
    fine(&db, "quota put user alice --max-sessions 5").await;
    fine(&db, "key put AA --user bob --policy student").await;
    reserve(&db).await;
    let status = fine(&db, "status").await.stdout;
    let line = |start: &str| {
        let line = status.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start} is not in\n{status}"))
    };
    assert!(status.starts_with("1 compute and 0 system sessions of 2 keys on 1 agents\n"));
    assert!(line("AK ").contains(" 1 of 1 "));
    assert!(line("user alice ").contains(" 1 of 5 "));
    assert!(line("i-01 ").contains(" cpu=4,cuda.shares=0.5,mem=16g "));
    assert!(status.find("\nAK ") < status.find("\nAA "), "the fullest comes first\n{status}");
    let of_key = fine(&db, "status --key AK --json").await.json();
    assert_eq!(of_key["sessions"][0]["session_id"], SESSION);
    assert_eq!(
        fine(&db, &format!("status --session {SESSION} --json")).await.json()["status"],
        "RUNNING"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unsound_is_found_and_repaired() {
    let db = TestDb::new().await;
    register(&db).await;
    fine(&db, "quota put user alice --max-sessions 5").await;
    reserve(&db).await;
    db.connect()
        .await
        .batch_execute(
            "update occupancy.keypair set compute_used = 7;
             update occupancy.quota set used = 7;
             update occupancy.agent set occupied_slots = '{}';
             insert into occupancy.key_queue values ('AK', 7, '{}')",
        )
        .await
        .expect("a superuser may do harm");
    let audit = run(&db, &["audit"]).await;
    assert_eq!(audit.code, Some(3), "{}", audit.stdout);
    assert_eq!(audit.stdout.lines().count(), 1 + 4, "{}", audit.stdout);

    for recalc in ["queue AK", "concurrency AK", "agents i-01", "quotas user alice"] {
        let corrections = fine(&db, &format!("recalc {recalc} --json")).await.json();
        assert_eq!(corrections.as_array().map(Vec::len), Some(1), "{recalc}: {corrections}");
    }
    for recalc in ["concurrency", "agents", "quotas", "queue"] {
        let output = fine(&db, &format!("recalc {recalc} --fullscan")).await;
        assert_eq!(output.stdout, "nothing to correct\n");
    }
    assert_eq!(
        fine(&db, &format!("recalc agents --session {SESSION} --json")).await.json(),
        json!([])
    );
    assert_eq!(fine(&db, "audit").await.stdout, "sound\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_installed_and_examined_by_commands() {
    let db = empty_database().await;
    let early = run(&db, &["status"]).await;
    assert_eq!(early.code, Some(1));
    assert!(early.stderr.contains("occupancy migrate"), "{}", early.stderr);

    assert!(fine(&db, "migrate").await.stdout.starts_with("applied V1__"));
    assert_eq!(fine(&db, "migrate").await.stdout, "up to date\n");
    assert_eq!(fine(&db, "schema status --json").await.json()["sources"], "current");
    assert!(fine(&db, "schema status").await.stdout.contains("functions: up to date"));
    assert_eq!(fine(&db, "schema verify --json").await.json(), json!([]));
    let edit = "create or replace function occupancy.clock() returns timestamptz
                language sql volatile return now()";
    db.connect().await.batch_execute(edit).await.expect("a superuser may do harm");
    let verify = run(&db, &["schema", "verify"]).await;
    assert_eq!(verify.code, Some(3), "{}{}", verify.stdout, verify.stderr);
    assert!(verify.stdout.contains("occupancy.clock()"), "{}", verify.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_install_script_needs_no_server() {
    let script = finish(occupancy(&["schema", "print"])).await;
    assert_eq!(script.code, Some(0));
    assert!(script.stdout.contains("function occupancy.reserve_session("));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_all_that_is_known() {
    let db = TestDb::new().await;
    register(&db).await;
    let wish = ["reserve", "NOBODY", "--kernel", "agent=i-01,cpu=1"];
    let output = run(&db, &wish).await;
    assert_eq!(output.code, Some(1));
    let lines: Vec<_> = output.stderr.lines().collect();
    assert_eq!(lines[0], "error: unknown access key");
    assert_eq!(lines[1], "detail: NOBODY");
    assert!(lines[2].starts_with("hint: "), "{}", output.stderr);
    assert_eq!(lines[3], "code: OC002");

    let output = run(&db, &[wish.as_slice(), &["--json"]].concat()).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    let error: Value = serde_json::from_str(&output.stderr).expect("JSON");
    assert_eq!(error["error"]["code"], "OC002");
    assert_eq!(error["error"]["message"], "unknown access key");

    for (line, code) in [
        ("reserve AK --kernel agent=i-01,cpu=0x10", "OC001"),
        ("reserve AK --kernel agent=nowhere,cpu=1", "OC003"),
        ("agent put i-01 --status SLEEPING", "OC005"),
        ("policy put p --max-sessions=-1", "OC005"),
        ("recalc quotas user nobody", "OC005"),
        ("status --key NOBODY", "OC002"),
        ("status --agent nowhere", "OC003"),
    ] {
        let output = run(&db, &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(output.code, Some(1), "{line}: {}", output.stdout);
        assert!(output.stderr.ends_with(&format!("code: {code}\n")), "{line}: {}", output.stderr);
    }
    let unknown = run(&db, &["session", NOBODY]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("code: OC004"), "{}", unknown.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_a_usage_error() {
    for line in [
        "",
        "frobnicate",
        "reserve AK",
        "reserve AK --kernel cpu=4",
        "reserve AK --kernel agent=i-01,cpu",
        "reserve AK --kernel {\"agent\":1}",
        "reserve AK --kernel agent=i-01,cpu=1 --type nap",
        "release not-an-id",
        "recalc concurrency",
        "recalc agents i-01 --fullscan",
        "quota put galaxy milky-way",
        "prune --older-than soon",
        "manager register cron --ttl soon",
        "enqueue AK",
        "enqueue AK --kernel cpu",
        "enqueue AK --kernel {\"cpu\":1}",
        "enqueue AK --kernel cpu=1 --cluster-mode everywhere",
        "enqueue AK --kernel cpu=1 --priority high",
        "enqueue AK --kernel cpu=1 --starts-at tomorrow",
        "enqueue AK --kernel cpu=1 --starts-at 10000-01-01T00:00:00Z",
        "enqueue AK --kernel cpu=1 --depends-on me",
        "cancel",
        "expire",
        "expire --older-than -1h",
        "tick --policy random",
        "tick --selector nearest",
        "explain",
        "explain session not-an-id",
        "recalc queue",
        "recalc queue AK --fullscan",
        "replay --nodes a --pods b --selector legacy",
        "replay --nodes a --pods b --queue --selector nearest",
        "reserve AK --kernel agent=i-01,cpu=1 --manager cron",
        "demo --managers 0",
    ] {
        let arguments: Vec<_> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let output = finish(occupancy(&arguments)).await;
        assert_eq!(output.code, Some(2), "{line}: {}{}", output.stdout, output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_prints_the_password() {
    for url in ["postgresql://me:hunter2@127.0.0.1:1/db", "postgresql://me:hunter2@[/db"] {
        let output = finish(occupancy(&["status", "--database-url", url])).await;
        assert_eq!(output.code, Some(1), "{}", output.stderr);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
        assert!(output.stderr.contains("\ndetail: "), "{}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_option_names_the_server_before_the_environment() {
    let (db, other) = (TestDb::new().await, TestDb::new().await);
    register(&db).await;
    let keys = async |command: Command| finish(command).await.json().as_array().map(Vec::len);
    let mut by_option = occupancy(&["key", "list", "--json", "--database-url", db.url()]);
    by_option.env("DATABASE_URL", other.url());
    assert_eq!(keys(by_option).await, Some(1));
    let mut by_variable = occupancy(&["key", "list", "--json"]);
    by_variable.env("DATABASE_URL", other.url());
    assert_eq!(keys(by_variable).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_the_embedded_one_is_used() {
    let place = Place::new();
    let data_dir = place.path().join("data");
    for (arguments, expected) in [
        (["policy", "put", "student"].as_slice(), "created\n"),
        (["policy", "put", "student"].as_slice(), "replaced\n"),
        (["audit"].as_slice(), "sound\n"),
    ] {
        let mut command = occupancy(arguments);
        command.env("OCCUPANCY_DATA_DIR", &data_dir);
        let output = finish(command).await;
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), expected), "{}", output.stderr);
    }
    nobody_is_left_in(place.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_read_enough_is_no_error() {
    let script = format!("set -o pipefail; {} schema print | head -n 1", program().display());
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]);
    let output = finish(shell).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_a_help_text_with_an_example() {
    let mut commands = vec![vec![]];
    while let Some(command) = commands.pop() {
        let help = [command.as_slice(), &["--help"]].concat();
        let output = finish(occupancy(&help)).await;
        assert_eq!(output.code, Some(0), "{command:?}: {}", output.stderr);
        let listed = output.stdout.split_once("Commands:\n");
        let Some((_, listed)) = listed else {
            assert!(output.stdout.contains("Example: occupancy "), "{}", output.stdout);
            continue;
        };
        for line in listed.lines().take_while(|line| !line.is_empty()) {
            let name = line.split_whitespace().next().expect("a name");
            let is_further_text = !line.starts_with("  ") || line.starts_with("   ");
            if !is_further_text && name != "help" {
                let name: &'static str = name.to_owned().leak();
                commands.push([command.as_slice(), &[name]].concat());
            }
        }
    }
}

/// Ids are made up anew in each run: those of the README are put in the place of ours.
fn with_ids_of(ours: &str, theirs: &str, known: &mut HashMap<String, String>) -> String {
    let is_id = |word: &&str| word.len() == 36 && uuid::Uuid::try_parse(word).is_ok();
    for (our, their) in
        ours.split_whitespace().filter(is_id).zip(theirs.split_whitespace().filter(is_id))
    {
        known.entry(our.to_owned()).or_insert_with(|| their.to_owned());
    }
    known.iter().fold(ours.to_owned(), |text, (our, their)| text.replace(our, their))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transcript_of_the_readme_is_true() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("```console\n").expect("the README has a transcript");
    let (transcript, _) = rest.split_once("```").expect("it ends");
    let db = TestDb::new().await;
    // Our id to the one in the README.
    let mut ids = HashMap::new();
    let mut commands = 0;
    for step in transcript.split("$ occupancy ").skip(1) {
        let (command, expected) = step.split_once('\n').expect("a line");
        let command =
            ids.iter().fold(command.to_owned(), |text, (our, their): (&String, &String)| {
                text.replace(their, our)
            });
        let output = run(&db, &command.split(' ').collect::<Vec<_>>()).await;
        let actual = with_ids_of(&output.stdout, expected, &mut ids);
        assert_eq!(actual, expected, "{command}: {}", output.stderr);
        commands += 1;
    }
    assert!(commands > 3, "the transcript was not found");
}

/// Waits until no process has this directory among its arguments or as its own.
async fn nobody_is_left_in(directory: &Path) {
    wait_for("every process to end", async || processes_in(directory).is_empty()).await;
}

fn processes_in(directory: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("/proc can be listed");
    let mentions = |process: &Path| {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        let cwd = fs::read_link(process.join("cwd")).unwrap_or_default();
        (arguments.contains(&*directory.to_string_lossy()) || cwd.starts_with(directory))
            .then_some(arguments)
    };
    processes.filter_map(|process| mentions(&process.ok()?.path())).collect()
}

/// `occupancy demo` whose server has its files in `directory`.
fn demo(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = occupancy(&[&["demo"], arguments].concat());
    command.env("TMPDIR", directory);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_sound_and_leaves_nothing() {
    let place = Place::new();
    let output = finish(demo(place.path(), &["--seconds", "5", "--managers", "4"])).await;
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.ends_with("audit: sound\n"), "{}", output.stdout);
    assert!(output.stdout.contains("never exceeded"), "{}", output.stdout);
    assert!(output.stdout.contains("10 of 10 agents have nothing occupied"), "{}", output.stdout);
    assert!(output.stdout.contains("concurrency_limit"), "no limit was hit\n{}", output.stdout);
    assert!(output.stderr.contains(" admitted, "), "no progress: {}", output.stderr);
    assert_eq!(processes_in(place.path()), Vec::<String>::new());
    assert_eq!(fs::read_dir(place.path()).expect("ours").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_demo_leaves_nothing() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        for (keep, moment) in [(false, "installing"), (false, "managers place"), (true, "managers")]
        {
            let place = Place::new();
            let mut child =
                demo(place.path(), if keep { &["--keep"] } else { &[] }).spawn().expect("it runs");
            let mut progress = BufReader::new(child.stderr.take().expect("piped")).lines();
            while let Some(line) = progress.next_line().await.expect("readable") {
                if line.contains(moment) {
                    break;
                }
            }
            let id = child.id().expect("it has not ended");
            kill(Pid::from_raw(id.cast_signed()), signal).expect("it has not ended");
            let status = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("waited");
            assert_eq!(status.code(), Some(code), "{signal} {moment}");
            assert_eq!(processes_in(place.path()), Vec::<String>::new(), "{signal} {moment}");
            assert_eq!(fs::read_dir(place.path()).expect("ours").count(), 0, "{signal} {moment}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_demo_can_be_looked_at_and_stopped() {
    let place = Place::new();
    let arguments = ["--keep", "--seconds", "1", "--managers", "2", "--json"];
    let report = finish(demo(place.path(), &arguments)).await.json();
    assert_eq!(report["summary"]["broken"], json!([]));
    let url = report["database_url"].as_str().expect("a URL");
    let data_dir = report["data_dir"].as_str().expect("a directory");
    let sessions: i64 = connect(url)
        .await
        .query_one("select count(*) from occupancy.sessions", &[])
        .await
        .expect("the server is there")
        .get(0);
    assert!(sessions > 0, "no session was left to look at");
    let down = finish(occupancy(&["down", "--data-dir", data_dir])).await;
    assert!(down.stdout.starts_with("Stopped"), "{}{}", down.stdout, down.stderr);
    nobody_is_left_in(place.path()).await;
}
