//! The replay of a cluster trace.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{interval, timeout};

use crate::support::{Place, TestDb, program};

const PATIENCE: Duration = Duration::from_secs(600);

const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model
n-1,8000,8192,2,T4
n-2,4000,4096,0,
";

/// Two that share a GPU, one that comes when they have gone, one that never fits, one that never
/// leaves.
const PODS: &str =
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
a,1000,1024,1,333,,LS,Running,0,10,1
b,1500,1024,1,667,,LS,Running,0,10,2
c,8000,8192,2,1000,,BE,Running,10,20,10
d,9000,1024,0,0,,BE,Pending,3,9,
e,500,512,0,0,,LS,Running,21,,21
";

async fn replay(db: &TestDb, nodes: &Path, pods: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(program());
    command
        .arg("replay")
        .args(["--json", "--database-url", db.url(), "--nodes"])
        .arg(nodes)
        .arg("--pods")
        .arg(pods)
        .args(options)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

fn report(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Whatever was replayed: nothing was exceeded, all was released, the audit found nothing.
fn is_sound(summary: &Value) {
    assert_eq!(summary["broken"], json!([]), "{summary}");
    assert_eq!(summary["end"]["empty_agents"], summary["end"]["agents"]);
    assert!(summary["audits"].as_u64() >= Some(2), "{summary}");
}

/// Databases of replays are gone, at the latest when those have ended that others began on the same
/// server meanwhile.
async fn leaves_no_database(db: &TestDb, before: &[String]) {
    let mut new = replay_databases(db).await;
    new.retain(|name| !before.contains(name));
    let mut poll = interval(Duration::from_millis(100));
    let all_gone = async {
        while !new.is_empty() {
            poll.tick().await;
            let present = replay_databases(db).await;
            new.retain(|name| present.contains(name));
        }
    };
    timeout(PATIENCE, all_gone).await.expect("no database is left behind");
}

async fn replay_databases(db: &TestDb) -> Vec<String> {
    let sql = "select datname::text from pg_database where datname like 'occupancy\\_replay\\_%'";
    let rows = db.connect().await.query(sql, &[]).await.expect("databases can be listed");
    rows.iter().map(|row| row.get(0)).collect()
}

struct Files {
    _place: Place,
    nodes: PathBuf,
    pods: PathBuf,
}

fn files(nodes: &str, pods: &str) -> Files {
    let place = Place::new();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).expect("it is ours");
        path
    };
    let (nodes, pods) = (file("nodes.csv", nodes), file("pods.csv", pods));
    Files { _place: place, nodes, pods }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_trace_goes_as_it_must() {
    let db = TestDb::new().await;
    let files = files(NODES, PODS);
    // One manager: what it finds at each moment is what the trace's clock says.
    let options = ["--managers", "1", "--keys", "1", "--limit", "2"];
    let output = replay(&db, &files.nodes, &files.pods, &options).await;
    let summary = &report(&output)["summary"];
    is_sound(summary);
    assert_eq!(summary["admitted"], 4);
    assert_eq!(summary["rejected"], json!({ "concurrency_limit": 1 }));
    assert_eq!(summary["keys"][0]["peak"], 2);
    assert_eq!(summary["end"], json!({ "released": 1, "agents": 2, "empty_agents": 2 }));

    let options = ["--managers", "1", "--keys", "7", "--limit", "9", "--arrivals-only"];
    let output = replay(&db, &files.nodes, &files.pods, &options).await;
    let summary = &report(&output)["summary"];
    is_sound(summary);
    // `d` fits nowhere, and `c` not beside `a` or `b` on the one node with GPUs.
    assert_eq!(summary["rejected"]["agent_capacity"], 2);
    let shares = summary["slots"].as_array().expect("slots").iter();
    let shares = shares.clone().find(|slot| slot["slot"] == "cuda.shares").expect("shares");
    assert_eq!((&shares["peak"], &shares["available"]), (&json!("1"), &json!("2")));
}

/// Every task of the trace is in one of the counts, and nothing was exceeded.
fn adds_up(passage: &Value, tasks: u64) {
    assert_eq!(passage["broken"], json!([]), "{passage}");
    let of = |counts: &Value| -> u64 {
        counts.as_object().expect("by code").values().filter_map(Value::as_u64).sum()
    };
    let unplaced = ["waiting", "gave_up", "rejected"].map(|name| of(&passage[name]));
    let placed = passage["placed"].as_u64().expect("a count");
    assert_eq!(placed + unplaced.iter().sum::<u64>(), tasks, "{passage}");
    assert_eq!(passage["tasks"], tasks);
    assert!(passage["audits"].as_u64() >= Some(2), "{passage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_trace_goes_through_the_queue_as_it_must() {
    let db = TestDb::new().await;
    let before = replay_databases(&db).await;
    let files = files(NODES, PODS);
    let output = replay(&db, &files.nodes, &files.pods, &["--queue"]).await;
    let report = report(&output);
    let passages = report["passages"].as_array().expect("passages");
    let names: Vec<_> = passages.iter().map(|p| (&p["selector"], &p["arrivals_only"])).collect();
    let selectors = ["concentrated", "dispersed", "roundrobin", "legacy"].map(|name| json!(name));
    let both = [json!(true), json!(false)];
    let expected: Vec<_> =
        both.iter().flat_map(|only| selectors.iter().map(move |name| (name, only))).collect();
    assert_eq!(names, expected);
    for passage in passages {
        adds_up(passage, 5);
        // `d` asks for more cores than a node has.
        assert_eq!(passage["never_fit"], json!({ "cpu": 1 }), "{passage}");
        let unplaced = if passage["arrivals_only"] == true { "waiting" } else { "gave_up" };
        assert!(passage[unplaced]["no_agent_fits"].as_u64() >= Some(1), "{passage}");
        assert!(passage["ticks"].as_u64() >= Some(1), "{passage}");
    }

    let options =
        ["--queue", "--selector", "legacy", "--arrivals-only", "--keys", "1", "--limit", "0"];
    let output = replay(&db, &files.nodes, &files.pods, &options).await;
    let report = self::report(&output);
    assert_eq!(report["passages"].as_array().map(Vec::len), Some(1));
    let passage = &report["passages"][0];
    adds_up(passage, 5);
    assert_eq!(passage["waiting"], json!({ "concurrency_limit": 5 }));
    leaves_no_database(&db, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_trace_is_refused_before_anything_is_done() {
    let db = TestDb::new().await;
    let before = replay_databases(&db).await;
    let wrong = PODS.replace("b,1500", "b,1.5");
    for (nodes, pods, place) in [
        (NODES, wrong.as_str(), "line 3: cpu_milli: "),
        (PODS, PODS, "line 2: missing field `sn`"),
        ("sn,cpu_milli,memory_mib,gpu,model\n", PODS, "it has no rows"),
    ] {
        let files = files(nodes, pods);
        let output = replay(&db, &files.nodes, &files.pods, &[]).await;
        assert_eq!(output.status.code(), Some(1));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON alone");
        let detail = error["error"]["detail"].as_str().expect("a detail");
        assert!(detail.starts_with(place), "{detail}");
    }
    leaves_no_database(&db, &before).await;
}

/// The OpenB trace where it lies beside the project; the project does not ship it.
fn openb() -> Option<[PathBuf; 2]> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces/openb");
    let files = ["openb_node_list_all_node.csv", "openb_pod_list_default.csv"];
    let files = files.map(|name| folder.join(name));
    if files.iter().all(|file| file.is_file()) {
        return Some(files);
    }
    // Past the test harness, which would keep it to itself.
    writeln!(io::stderr(), "NOT RUN on the OpenB trace: it is not in {}", folder.display())
        .expect("standard error is open");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn openb_by_its_clock_stays_sound() {
    let Some([nodes, pods]) = openb() else { return };
    let db = TestDb::new().await;
    let options = ["--managers", "8", "--keys", "50", "--limit", "2"];
    let report = report(&replay(&db, &nodes, &pods, &options).await);
    let summary = &report["summary"];
    is_sound(summary);
    let rejected = summary["rejected"].as_object().expect("by code");
    let total: u64 = rejected.values().filter_map(Value::as_u64).sum();
    assert_eq!(summary["admitted"].as_u64().map(|admitted| admitted + total), Some(8152));
    // The trace has at most 56 at once, each manager one more that is about to leave.
    assert!(summary["peak_sessions"].as_i64() <= Some(56 + 8), "{summary}");
    assert!(rejected.contains_key("concurrency_limit"), "no limit was ever hit: {summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn openb_without_departures_fills_forty_nodes() {
    let Some([nodes, pods]) = openb() else { return };
    let db = TestDb::new().await;
    let options = ["--arrivals-only", "--node-count", "40", "--keys", "50", "--limit", "10"];
    let report = report(&replay(&db, &nodes, &pods, &options).await);
    let summary = &report["summary"];
    is_sound(summary);
    assert_eq!(summary["end"]["agents"], 40);
    assert_eq!(summary["end"]["released"], summary["admitted"]);
    let fullest = summary["slots"].as_array().expect("slots").iter();
    let fullest = fullest.filter_map(|slot| slot["percent"].as_f64()).fold(0.0, f64::max);
    assert!((95.0..=100.0).contains(&fullest), "{summary}");
}

/// A slice of the trace: enough tasks to fill a few of its nodes.
#[tokio::test(flavor = "multi_thread")]
async fn a_slice_of_openb_goes_through_the_queue() {
    let Some([nodes, pods]) = openb() else { return };
    let all = fs::read_to_string(pods).expect("the trace is text");
    let slice: Vec<&str> = all.lines().take(1 + 600).collect();
    let files = files(&fs::read_to_string(nodes).expect("the trace is text"), &slice.join("\n"));
    let db = TestDb::new().await;
    let options = ["--queue", "--selector", "dispersed,concentrated", "--node-count", "12"];
    let report = report(&replay(&db, &files.nodes, &files.pods, &options).await);
    let passages = report["passages"].as_array().expect("passages");
    assert_eq!(passages.len(), 4);
    for passage in passages {
        adds_up(passage, 600);
        assert_eq!(passage["managers"], 4);
    }
    let full = &passages[0];
    assert!(full["waiting"]["no_agent_fits"].as_u64() > Some(0), "nobody waits: {full}");
    assert!(full["gpus_at_end"].as_f64() > Some(50.0), "{full}");
}
