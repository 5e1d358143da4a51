//! Faults: a short run of what `occupancy torture` does for as long as one likes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use crate::support::fixture::{Fixture, id};
use crate::support::{Place, program, wait_for};

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// `occupancy torture` with its temporary files where they can be counted.
fn torture(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("torture").args(arguments).env("TMPDIR", place);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Processes that have this in their command line or environment.
fn processes(of: &Path) -> usize {
    let needle = of.to_str().expect("UTF-8").as_bytes();
    let all = std::fs::read_dir("/proc").expect("a Linux system").flatten();
    let mentions = |path: std::path::PathBuf| {
        std::fs::read(path).is_ok_and(|text| text.windows(needle.len()).any(|it| it == needle))
    };
    let ours = all.filter(|entry| {
        ["cmdline", "environ"].iter().any(|file| mentions(entry.path().join(file)))
    });
    ours.count()
}

fn is_empty(place: &Path) -> bool {
    std::fs::read_dir(place).expect("it is there").next().is_none()
}

/// Some of everything that needs neither root nor another package.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_holds_through_faults() {
    const FAULTS: &str = "manager-killed,backend-killed,request-lost,answer-lost,server-crashed,\
                          lock-held,split-failover";
    let place = Place::new();
    let arguments = ["--minutes", "4", "--strikes", "2", "--seed", "1", "--json", "--faults"];
    let running = torture(place.path(), &[&arguments[..], &[FAULTS]].concat()).output();
    let output = timeout(PATIENCE, running).await.expect("it ends").expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let report = &told["report"];
    assert_eq!(output.status.code(), Some(0), "{stderr}{told}");
    assert_eq!(report["violations"], json!([]));
    for line in report["faults"].as_array().expect("a line each") {
        let wanted = if line["fault"] == "split-failover" { 1 } else { 2 };
        assert_eq!(line["struck"], wanted, "{line}");
    }
    let count = |name: &str| report[name].as_u64().unwrap_or_default();
    assert!(count("lost_answers") > 0 && count("answers") > count("lost_answers"), "{report}");
    assert!(count("samples") > 0 && count("checks") >= 13, "{report}");
    assert!(is_empty(place.path()) && processes(place.path()) == 0);
}

/// A check that finds nothing proves nothing unless it can find something: here somebody ends
/// sessions behind everybody's back.
#[tokio::test(flavor = "multi_thread")]
async fn a_violation_fails_the_run_and_names_the_place() {
    let place = Place::new();
    let arguments = ["--minutes", "4", "--faults", "answer-lost"];
    let mut child = torture(place.path(), &arguments).spawn().expect("it starts");
    let server = working(place.path()).await;
    let meddle = async {
        let sql = "select occupancy.clear_concurrency('AK-0')";
        while !server.is_closed() {
            let _ = server.batch_execute(sql).await;
        }
    };
    let (status, ()) =
        timeout(PATIENCE, async { tokio::join!(child.wait(), meddle) }).await.expect("it ends");
    assert_eq!(status.expect("it ended").code(), Some(3));
    let output = child.wait_with_output().await.expect("it can be read");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("(history, line "), "{stdout}");
    let history = stdout.lines().find_map(|line| line.strip_prefix("history: "));
    let history = std::fs::read_to_string(history.expect("it is kept")).expect("it is there");
    assert!(history.lines().count() > 10, "{history}");
    assert_eq!(processes(place.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_leaves_nothing_behind() {
    let place = Place::new();
    let child = torture(place.path(), &["--faults", "backend-frozen"]).spawn().expect("it starts");
    drop(working(place.path()).await);
    let id = child.id().expect("it runs").cast_signed();
    kill(Pid::from_raw(id), Signal::SIGINT).expect("it can be told");
    let ended = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends");
    assert_eq!(ended.expect("it ended").status.code(), Some(130));
    assert!(is_empty(place.path()));
    // The one that ends a freeze ends with it.
    wait_for("the last process to end", async || processes(place.path()) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_leaves_no_process_behind() {
    let place = Place::new();
    let mut child =
        torture(place.path(), &["--faults", "backend-frozen"]).spawn().expect("it starts");
    drop(working(place.path()).await);
    child.kill().await.expect("it can be killed");
    wait_for("the last process to end", async || processes(place.path()) == 0).await;
}

/// Waits until managers work, and connects to their server as its superuser.
async fn working(place: &Path) -> Client {
    let mut found = None;
    wait_for("managers to work", async || {
        let servers = std::fs::read_dir(place).expect("it is there").flatten();
        for server in servers.map(|entry| entry.path().join("a-server")) {
            let url = format!("host={} user=occupancy dbname=occupancy", server.display());
            let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else {
                continue;
            };
            tokio::spawn(connection);
            let sql = "select count(*) > 3 from occupancy.sessions";
            if client.query_one(sql, &[]).await.is_ok_and(|row| row.get(0)) {
                found = Some(client);
                return true;
            }
        }
        false
    })
    .await;
    found.expect("it was waited for")
}

/// A server loses the connection of somebody whose commit waits for the standby. The commit is
/// visible from then on, and to be found by who repeats the call; should the primary be lost now, it
/// is gone. So the answer to a repeated call must wait for the standby as well, which it does only
/// if the call has written something.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_repeated_call_waits_for_the_standby() {
    let fixture = Fixture::new().await;
    let client = &fixture.client;
    let (id, kernel) = (id(1), id(2));
    let kernels = json!([{"kernel_id": kernel, "agent": "i-01", "slots": {"cpu": 1}}]);
    let request = json!([{"session_id": id, "access_key": "AK", "kernels": kernels}]);
    let reserve =
        format!("select outcome from occupancy.reserve_session('{id}', 'AK', '{kernels}')");
    let batch = format!("select outcome from occupancy.reserve_sessions('{request}')");
    let terminate = format!("select outcome from occupancy.terminate_session('{id}')");
    let release_kernel = format!("select outcome from occupancy.release_kernel('{kernel}')");
    let release = format!("select outcome from occupancy.release_session('{id}')");
    let release_batch = format!("select outcome from occupancy.release_sessions('{{{id}}}')");
    let calls = [
        (&reserve, "admitted"),
        (&reserve, "already_admitted"),
        (&batch, "already_admitted"),
        (&terminate, "terminating"),
        (&terminate, "already_terminating"),
        (&release_kernel, "released"),
        (&release_kernel, "already_released"),
        (&release, "already_released"),
        (&release_batch, "already_released"),
        (&reserve, "rejected"),
    ];
    for (call, expected) in calls {
        client.batch_execute("begin").await.expect("a transaction");
        let told: String = client.query_one(call.as_str(), &[]).await.expect(call).get(0);
        assert_eq!(told, expected, "{call}");
        let wrote = "select pg_current_xact_id_if_assigned() is not null";
        let wrote: bool = client.query_one(wrote, &[]).await.expect(wrote).get(0);
        client.batch_execute("commit").await.expect("committed");
        assert!(wrote, "{call}: {told}");
    }
}
