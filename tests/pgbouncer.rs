//! The client behind a pooler: PgBouncer in transaction mode hands each transaction to whichever
//! server connection is free, so that nothing may be left on one for the next call.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, io};

use nix::unistd::{Uid, User};
use occupancy::{
    Config, Handles, Hearing, ResourceSlots, Scheduler, SchedulerOptions, SessionRequest, WakeUp,
};
use tokio_postgres::config::Host;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::support::{POOLER, Place, TestDb, wait_for};

/// Tests of the client that are about server connections of its own, which a pooler has not.
const ABOUT_CONNECTIONS: [&str; 5] = [
    // The pooler keeps no idle one.
    "client::a_call_after_every_backend_died_finds_a_new_one",
    // The pooler keeps the connection that became read-only.
    "client::a_connection_that_became_read_only_is_replaced",
    // The client's connection, to the pooler, is not a new one.
    "client::a_new_connection_notices_a_breaking_migration",
    // What is prepared stays on another connection.
    "client::prepared_statements_survive_a_new_result_column",
    "client::statements_are_prepared_once_a_connection_if_asked_for",
];

/// What a pooler has towards the server.
#[derive(Clone, Copy)]
enum Connections {
    /// A new connection for each transaction, so that nothing left on one can be found.
    OfOneTransaction,
    /// One for all transactions of all clients: whatever a client leaves on it, it finds there.
    Single,
}

/// A PgBouncer that ends with this value.
struct PgBouncer {
    process: Child,
    directory: PathBuf,
    _place: Place,
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl PgBouncer {
    const PORT: u16 = 6432;

    /// Starts one in front of the server of this URL, and waits until it answers for a database.
    async fn start(program: &Path, url: &str, database: &str, connections: Connections) -> Self {
        let server: tokio_postgres::Config = url.parse().expect("a valid URL");
        let (host, owner) = match &server.get_hosts()[0] {
            Host::Tcp(name) => (name.clone(), User::from_name("nobody")),
            // Nobody but the server's user gets at the socket.
            Host::Unix(socket) => {
                let owner = fs::metadata(socket).expect("the socket's directory").uid();
                (socket.display().to_string(), User::from_uid(Uid::from_raw(owner)))
            }
        };
        let place = Place::new();
        let directory = place.path().join("pgbouncer");
        fs::create_dir(&directory).expect("a new directory");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("ours");
        let ini = directory.join("pgbouncer.ini");
        fs::write(&ini, configuration(&server, &host, &directory, connections)).expect("writable");

        let mut command = Command::new(program);
        // It refuses to run as root.
        if Uid::effective().is_root() {
            let user = owner.expect("users can be looked up").expect("the server's user");
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            for path in [&directory, &ini] {
                chown(path, Some(uid), Some(gid)).expect("root may");
            }
            command.uid(uid).gid(gid);
        }
        let process = command
            .args(["--quiet".as_ref(), ini.as_os_str()])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("PgBouncer starts");
        let mut pooler = Self { process, directory, _place: place };
        wait_for("PgBouncer to answer", async || {
            let ended = pooler.process.try_wait().expect("its state is known");
            assert!(ended.is_none(), "PgBouncer ended: {ended:?}\n{}", pooler.log());
            pooler.connect(database).await.is_some()
        })
        .await;
        pooler
    }

    /// How to connect, but for the database.
    fn settings(&self) -> String {
        format!("host={} port={} user=occupancy", self.directory.display(), Self::PORT)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_else(|error| error.to_string())
    }

    /// Connects to its console, or to a database behind it.
    async fn connect(&self, database: &str) -> Option<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::Config::new()
            .host_path(&self.directory)
            .port(Self::PORT)
            .user("occupancy")
            .dbname(database)
            .connect(NoTls)
            .await
            .ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// How many transactions clients have run through it.
    async fn transactions(&self) -> u64 {
        let console = self.connect("pgbouncer").await.expect("the console answers");
        let rows = console.simple_query("show stats_totals").await.expect("totals");
        rows.iter()
            .map(|message| match message {
                SimpleQueryMessage::Row(row) if row.get("database") != Some("pgbouncer") => {
                    row.get("xact_count").expect("a count").parse::<u64>().expect("a number")
                }
                _ => 0,
            })
            .sum()
    }
}

fn configuration(
    server: &tokio_postgres::Config,
    host: &str,
    directory: &Path,
    connections: Connections,
) -> String {
    let connections = match connections {
        Connections::OfOneTransaction => "server_lifetime = 0",
        Connections::Single => "default_pool_size = 1",
    };
    let user = server.get_user().expect("the URL names a user");
    let password = server.get_password().map_or_else(String::new, |password| {
        format!(" password='{}'", String::from_utf8_lossy(password).replace('\'', "''"))
    });
    let port = server.get_ports().first().copied().unwrap_or(5432);
    format!(
        "[databases]\n\
         * = host={host} port={port} user={user}{password}\n\
         [pgbouncer]\n\
         pool_mode = transaction\n\
         {connections}\n\
         auth_type = any\n\
         admin_users = occupancy\n\
         listen_addr =\n\
         listen_port = {}\n\
         unix_socket_dir = {}\n\
         logfile = {}/log\n",
        PgBouncer::PORT,
        directory.display(),
        directory.display()
    )
}

fn pgbouncer() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian's packages put it where only root looks.
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
}

/// The program, or a word to whoever looks on that there is none.
fn found() -> Option<PathBuf> {
    let found = pgbouncer();
    if found.is_none() {
        let required = env::var("OCCUPANCY_TEST_REQUIRE_PGBOUNCER").is_ok_and(|value| value == "1");
        assert!(!required, "there is no pgbouncer, which is required");
        // Past the harness, which hides what a test that passes prints.
        writeln!(io::stderr(), "NOT CHECKED: there is no pgbouncer").expect("stderr");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_behind_pgbouncer_are_an_error_with_the_way_out() {
    let Some(program) = found() else { return };
    let db = TestDb::new().await;
    let pooler =
        PgBouncer::start(&program, db.server_url(), db.name(), Connections::OfOneTransaction).await;
    let config: Config =
        format!("{} dbname={}", pooler.settings(), db.name()).parse().expect("valid");
    let tracker = async |prepare| {
        let config = config.clone().with_prepared_statements(prepare);
        Handles::connect(&config).await.expect("it answers").tracker().clone()
    };
    assert_eq!(tracker(false).await.audit().await.expect("audited"), []);
    // Newer ones than Debian's may know where the statement is.
    if let Err(error) = tracker(true).await.audit().await {
        assert_eq!(error.sqlstate(), Some("26000"), "{error:?}");
        let hint = error.hint_text().unwrap_or_default();
        assert!(hint.contains("with_prepared_statements(false)"), "{hint}");
    }
}

// The pooler takes LISTEN, and gives the server connection to somebody else. Whoever listens there
// hears what he sends himself, if he gets the same connection again, and nobody else: here he always
// does, and has to find out all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_hears_nothing_polls_and_says_so() {
    let Some(program) = found() else { return };
    let db = TestDb::new().await;
    let pooler = PgBouncer::start(&program, db.server_url(), db.name(), Connections::Single).await;
    let config: Config =
        format!("{} dbname={}", pooler.settings(), db.name()).parse().expect("valid");
    let handles = Handles::connect(&config.without_lease()).await.expect("it answers");
    db.connect()
        .await
        .batch_execute(
            "select occupancy.put_resource_policy('open');
             select occupancy.put_keypair('AK', 'alice', 'open');
             select occupancy.put_agent('a1', '{\"cpu\": 4}');",
        )
        .await
        .expect("registered");

    let poll = std::time::Duration::from_millis(200);
    let options = SchedulerOptions { poll, ..SchedulerOptions::of("default") };
    let deaf = Scheduler::start(&handles, options.clone(), ()).expect("started");
    let mut hearing = deaf.watch_hearing();
    let found_out = hearing.wait_for(|hearing| *hearing != Hearing::Connecting).await;
    let found_out = found_out.expect("it lives").clone();
    let Hearing::Polling(why) = found_out else { panic!("{found_out:?}") };
    assert!(why.contains("pooler"), "{why}");
    let request = SessionRequest::new(uuid::Uuid::now_v7(), "AK")
        .with_kernel(ResourceSlots::new().with("cpu", 1));
    assert!(handles.queue().enqueue_session(&request).await.expect("answered").is_accepted());
    wait_for("a poll", async || deaf.metrics().outcomes.get("placed") == Some(&1)).await;
    deaf.stop().await;

    let direct = WakeUp::ListenOn(Box::new(db.url().parse().expect("valid")));
    let options = SchedulerOptions { wake_up: direct, ..options };
    let hears = Scheduler::start(&handles, options, ()).expect("started");
    let mut hearing = hears.watch_hearing();
    hearing.wait_for(|hearing| *hearing == Hearing::Listening).await.expect("it lives");
    hears.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_suite_passes_through_pgbouncer() {
    let Some(program) = found() else { return };
    let db = TestDb::new().await;
    let pooler =
        PgBouncer::start(&program, db.server_url(), db.name(), Connections::OfOneTransaction).await;

    let mut suite = tokio::process::Command::new(env::current_exe().expect("this program"));
    suite.args(["client::", "--test-threads", "4"]);
    for test in ABOUT_CONNECTIONS {
        suite.args(["--skip", test]);
    }
    suite.env("OCCUPANCY_TEST_URL", db.server_url());
    suite.env(POOLER, pooler.settings());
    let output = suite.kill_on_drop(true).output().await.expect("it runs");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", pooler.log());
    assert!(report.contains("a_session_lives_and_ends ... ok"), "{report}");
    assert!(pooler.transactions().await > 20, "the client went another way");
}
