//! The embedded server: it starts by itself, serves everybody who asks, and leaves nothing behind.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use occupancy::server::{Durability, Running, Stopped};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use tokio_postgres::NoTls;

use crate::support::{Place, TestDb, connect, empty_database, ephemeral, program, wait_for};

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The processes behind a server.
struct Processes {
    guardian: u32,
    server: u32,
}

impl Processes {
    fn of(running: &Running) -> Self {
        Self { guardian: running.guardian, server: running.process }
    }

    /// Of the server that runs in a data directory.
    fn in_directory(directory: &Path) -> Self {
        let lock = fs::read(directory.join("lock")).expect("it runs");
        let state: serde_json::Value = serde_json::from_slice(&lock).expect("it is ready");
        let running = serde_json::from_value(state["running"].clone()).expect("it is ready");
        Self::of(&running)
    }

    fn are_gone(&self) -> bool {
        [self.guardian, self.server].into_iter().all(|id| !is_alive(id))
    }
}

fn is_alive(id: u32) -> bool {
    kill(Pid::from_raw(id.cast_signed()), None) != Err(Errno::ESRCH)
}

/// Whether the server of a data directory is Docker's, so that its files are not there.
fn is_container(directory: &Path) -> bool {
    directory.join("volume").exists()
}

fn send(id: u32, signal: Signal) {
    kill(Pid::from_raw(id.cast_signed()), signal).expect("the process lives");
}

/// `occupancy` with arguments, on a data directory.
fn occupancy(arguments: &[&str], data_dir: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs `occupancy` to its end: success, standard output, standard error.
async fn run(arguments: &[&str], data_dir: &Path) -> (bool, String, String) {
    finish(occupancy(arguments, data_dir)).await
}

async fn finish(mut command: Command) -> (bool, String, String) {
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// `occupancy up` in the foreground.
struct Up {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Up {
    async fn start(arguments: &[&str], data_dir: &Path) -> Self {
        let mut child = occupancy(&[&["up"], arguments].concat(), data_dir).spawn().expect("runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut url = None;
        while url.is_none() {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it starts");
            let Some(line) = line.expect("it can be read") else {
                let mut stderr = String::new();
                child
                    .stderr
                    .take()
                    .expect("piped")
                    .read_to_string(&mut stderr)
                    .await
                    .expect("text");
                panic!("`occupancy up` failed: {stderr}");
            };
            url = line.strip_prefix("DATABASE_URL=").map(str::to_owned);
        }
        Self { child, lines, url: url.expect("seen") }
    }

    fn signal(&self, signal: Signal) {
        send(self.child.id().expect("it runs"), signal);
    }

    async fn ended(mut self) -> ExitStatus {
        timeout(PATIENCE, async {
            while self.lines.next_line().await.expect("it can be read").is_some() {}
            self.child.wait().await.expect("it can be waited for")
        })
        .await
        .expect("it ends")
    }
}

#[tokio::test]
async fn an_ephemeral_server_goes_without_a_trace() {
    let server = ephemeral(Durability::Full).await;
    let directory = server.log().parent().expect("a directory").to_owned();
    let processes = Processes::of(server.running());
    let client = connect(server.url()).await;
    let row = client.query_one("select current_database(), current_setting('fsync')", &[]).await;
    let row = row.expect("the server answers");
    assert_eq!((row.get(0), row.get(1)), ("occupancy", "on"));

    server.stop().await.expect("it stops");

    assert!(processes.are_gone());
    assert!(!directory.exists());
}

#[tokio::test]
async fn two_servers_at_once_do_not_meet() {
    let (one, other) = tokio::join!(ephemeral(Durability::None), ephemeral(Durability::None));
    let create = "create table here ()";
    connect(one.url()).await.batch_execute(create).await.expect("a database of its own");
    connect(other.url()).await.batch_execute(create).await.expect("another one");
    one.stop().await.expect("it stops");
    connect(other.url()).await.batch_execute("table here").await.expect("the other goes on");
}

/// The owner of a server, as a process that can be killed. Says where the server is, and lets it go
/// at the end of its input.
#[tokio::test]
#[ignore = "a process of other tests, not a test"]
async fn owner() {
    if std::env::var_os("OCCUPANCY_TEST_OWNER").is_none() {
        return;
    }
    let server = ephemeral(Durability::None).await;
    eprintln!("{}", serde_json::to_string(server.running()).expect("plain data"));
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input ends");
}

/// Starts an owner whose server is in `place`.
async fn start_owner(place: &Place) -> (Child, Running) {
    let mut owner = Command::new(std::env::current_exe().expect("the test binary is known"))
        .args(["--exact", "server::owner", "--ignored", "--nocapture"])
        .env("OCCUPANCY_TEST_OWNER", "")
        .env("TMPDIR", place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the test binary can be started");
    let mut lines = BufReader::new(owner.stderr.take().expect("piped")).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.expect("it starts").expect("text");
    let running: Running = serde_json::from_str(&line.expect("it says where")).expect("a server");
    assert!(running.log.starts_with(place.path()));
    (owner, running)
}

fn is_empty(place: &Place) -> bool {
    fs::read_dir(place.path()).expect("it is there").next().is_none()
}

#[tokio::test]
async fn a_killed_owner_leaves_nothing() {
    let place = Place::new();
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let (mut owner, running) = start_owner(&place).await;
        let processes = Processes::of(&running);
        send(owner.id().expect("it runs"), signal);
        owner.wait().await.expect("it ends");
        wait_for("the server's end", async || processes.are_gone() && is_empty(&place)).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_guardian_takes_its_server_along() {
    let place = Place::new();
    let (mut owner, running) = start_owner(&place).await;
    send(running.guardian, Signal::SIGKILL);
    wait_for("the server's end", async || !is_alive(running.process)).await;
    drop(owner.stdin.take());
    assert!(owner.wait().await.expect("it ends").success());
    assert!(is_empty(&place));
}

#[tokio::test]
async fn up_ends_cleanly_on_a_signal_and_keeps_the_data() {
    let place = Place::new();
    for (signal, statement) in
        [(Signal::SIGINT, "create table kept ()"), (Signal::SIGTERM, "table kept")]
    {
        let up = Up::start(&[], place.path()).await;
        let processes = Processes::in_directory(place.path());
        connect(&up.url).await.batch_execute(statement).await.expect("the data is there");
        up.signal(signal);
        assert!(up.ended().await.success());
        wait_for("the server's end", async || processes.are_gone()).await;
        let log = fs::read_to_string(place.path().join("server.log")).expect("it was written");
        assert!(log.contains("database system is shut down"), "it was shut down in order: {log}");
    }
}

#[tokio::test]
async fn up_recovers_from_a_killed_server() {
    let place = Place::new();
    let up = Up::start(&[], place.path()).await;
    let client = connect(&up.url).await;
    client.batch_execute("create table survivor ()").await.expect("it runs");
    let processes = Processes::in_directory(place.path());
    send(processes.server, Signal::SIGKILL);
    assert!(!up.ended().await.success(), "`up` says that its server has gone");
    assert!(processes.are_gone());

    // By now the process id in the file that was left may be somebody else's: ours, say. In a
    // container every server has the process id 1.
    if !is_container(place.path()) {
        let stale = place.path().join("data/postmaster.pid");
        let text = fs::read_to_string(&stale).expect("it was left");
        let (old, new) = (processes.server.to_string(), std::process::id().to_string());
        fs::write(&stale, text.replacen(&old, &new, 1)).expect("it can be changed");
    }

    let up = Up::start(&[], place.path()).await;
    connect(&up.url).await.batch_execute("table survivor").await.expect("what was committed stays");
    up.signal(Signal::SIGTERM);
    assert!(up.ended().await.success());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn up_recovers_from_a_killed_guardian() {
    let place = Place::new();
    let (started, ..) = run(&["up", "--detach"], place.path()).await;
    assert!(started);
    let processes = Processes::in_directory(place.path());
    send(processes.guardian, Signal::SIGKILL);

    let (started, stdout, stderr) = run(&["up", "--detach"], place.path()).await;

    assert!(started && stdout.starts_with("Started: "), "{stdout}{stderr}");
    wait_for("the orphan's end", async || !is_alive(processes.server)).await;
    assert!(run(&["down"], place.path()).await.0);
}

#[tokio::test]
async fn of_many_who_start_one_server_exactly_one_does() {
    let place = Place::new();
    let all = (0..8).map(|_| run(&["up", "--detach"], place.path()));
    let mut started = 0;
    for (success, stdout, stderr) in futures_util::future::join_all(all).await {
        assert!(success, "{stderr}");
        started += usize::from(stdout.starts_with("Started: "));
        assert!(stdout.starts_with("Started: ") || stdout.starts_with("Already running: "));
    }
    assert_eq!(started, 1);

    let processes = Processes::in_directory(place.path());
    let (success, stdout, _) = run(&["down"], place.path()).await;
    assert!(success && stdout.starts_with("Stopped"));
    wait_for("the server's end", async || processes.are_gone()).await;
    let (success, stdout, _) = run(&["down"], place.path()).await;
    assert!(success && stdout.starts_with("No server runs"));
}

#[tokio::test]
async fn a_borrowed_server_lives_as_long_as_somebody_uses_it() {
    let place = Place::new();
    let first = place.data_dir().attach_or_start().await.expect("it starts");
    let second = place.data_dir().attach_or_start().await.expect("it is there");
    assert!(!first.is_reused() && second.is_reused());
    let processes = Processes::in_directory(place.path());

    first.release().await.expect("it is let go");
    connect(second.url()).await.batch_execute("select").await.expect("it is still there");
    second.release().await.expect("it is let go");

    wait_for("the server's end", async || processes.are_gone()).await;
    assert_eq!(place.data_dir().stop().await.expect("it is known"), Stopped::NotRunning);
}

#[tokio::test]
async fn up_keeps_a_borrowed_server() {
    let place = Place::new();
    let borrowed = place.data_dir().attach_or_start().await.expect("it starts");
    let (success, stdout, _) = run(&["up"], place.path()).await;
    assert!(success && stdout.starts_with("Already running: "));

    borrowed.release().await.expect("it is let go");

    let again = place.data_dir().attach_or_start().await.expect("it is there");
    assert!(again.is_reused());
    assert_eq!(place.data_dir().stop().await.expect("it stops"), Stopped::Stopped);
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a free port").port().to_string();
    let up = Up::start(&["--port", &port], place.path()).await;

    let mut private = vec![("", 0o700), ("password", 0o600), ("lock", 0o600)];
    if !is_container(place.path()) {
        private.extend([("run", 0o700), ("data", 0o700)]);
    }
    for (path, mode) in private {
        let metadata = fs::metadata(place.path().join(path)).expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
    }
    let password = fs::read_to_string(place.path().join("password")).expect("it is there");
    for wrong in ["", ":wrong"] {
        let url = up.url.replace(&format!(":{password}"), wrong);
        assert_ne!(url, up.url);
        assert!(tokio_postgres::connect(&url, NoTls).await.is_err(), "{wrong}");
    }
    let open = connect(&up.url)
        .await
        .query_one(
            "select count(*) from pg_hba_file_rules
             where type <> 'local' and auth_method <> 'scram-sha-256'
             and not coalesce(address in ('127.0.0.1', '::1') and $1, false)",
            // The loopback interface inside a container is the container's own.
            &[&is_container(place.path())],
        )
        .await;
    assert_eq!(open.expect("it answers").get::<_, i64>(0), 0);
    up.signal(Signal::SIGINT);
    assert!(up.ended().await.success());
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_is_left() {
    let place = Place::new();
    let target = place.path().join("new");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let (success, _, stderr) = run(&["up", "--port", &port], &target).await;
    assert!(!success);
    assert!(stderr.contains(&format!("cannot listen on port {port}")), "{stderr}");
    assert!(stderr.contains("--port"), "{stderr}");
    assert!(!target.exists());
}

#[tokio::test]
async fn a_directory_that_is_not_ours_is_left_alone() {
    let place = Place::new();
    let file = place.path().join("letter.txt");
    fs::write(&file, "dear reader").expect("it can be written");
    for (directory, complaint) in
        [(place.path(), "not a data directory of ours"), (&file, "cannot use")]
    {
        for command in [["up"].as_slice(), &["up", "--detach"], &["down"]] {
            let (success, _, stderr) = run(command, directory).await;
            assert!(!success, "{command:?} {}", directory.display());
            assert!(stderr.contains(complaint) && stderr.contains("--data-dir"), "{stderr}");
        }
    }
    let entries: Vec<_> = fs::read_dir(place.path()).expect("it is there").collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "dear reader");
}

#[tokio::test]
async fn data_of_another_version_is_refused() {
    let place = Place::new();
    assert!(run(&["up", "--detach"], place.path()).await.0);
    assert!(run(&["down"], place.path()).await.0);
    if is_container(place.path()) {
        // The image decides, and PostgreSQL itself refuses.
        return;
    }
    fs::write(place.path().join("data/PG_VERSION"), "99\n").expect("it can be changed");
    let (success, _, stderr) = run(&["up"], place.path()).await;
    assert!(!success);
    assert!(stderr.contains("is of PostgreSQL 99, which is not installed"), "{stderr}");
    assert!(stderr.contains("but the data is of version 99"), "{stderr}");
}

#[tokio::test]
async fn without_any_server_each_way_is_named_with_the_remedy() {
    let place = Place::new();
    let (target, empty) = (place.path().join("new"), place.path().join("empty"));
    fs::create_dir(&empty).expect("it can be created");
    let mut command = occupancy(&["up"], &target);
    command.env("OCCUPANCY_POSTGRES_BIN", &empty).env("PATH", &empty);
    let (success, _, stderr) = finish(command).await;
    assert!(!success);
    for part in [
        "no PostgreSQL 15 or newer to run was found",
        &format!("OCCUPANCY_POSTGRES_BIN: {}: no initdb there", empty.display()),
        "Docker: ",
        "install PostgreSQL",
    ] {
        assert!(stderr.contains(part), "{part} is not in: {stderr}");
    }
    assert!(!target.exists());
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other, empty) = tokio::join!(TestDb::new(), TestDb::new(), empty_database());
    for database in [&one, &other, &empty] {
        let client = database.connect().await;
        client.batch_execute("create table here ()").await.expect("nobody else is here");
        client.batch_execute("table nowhere").await.expect_err("there is no such table");
        let log = database.server_log().await;
        assert!(log.contains("relation \"nowhere\" does not exist"), "{log}");
        assert_eq!(log.matches("42P01").count(), 2, "its error and its statement: {log}");
        assert_eq!(log.matches(database.name()).count(), log.matches('@').count(), "{log}");
    }
}
