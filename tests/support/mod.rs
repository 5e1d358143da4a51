//! What every test stands on: one server for the whole process, a database for each test, and
//! waiting for a state instead of for a time.
//!
//! The server is the one of `OCCUPANCY_TEST_URL` (a superuser's URL), or else an ephemeral one that
//! is started with the first test and ends with the process.

// Each helper is here for the tests that need it.
#![allow(dead_code, unused_imports)]

mod database;
pub(crate) mod fixture;
mod janitor;
mod place;
pub(crate) mod platform;
pub(crate) mod shorten;
mod wait;

use std::path::{Path, PathBuf};
use std::time::Duration;

use occupancy::server::{Durability, Ephemeral, Options};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

pub(crate) use self::database::{POOLER, TestDb, empty_database, with_database};
use self::janitor::Janitor;
pub(crate) use self::place::Place;
pub(crate) use self::wait::{backend_pid, wait_for, wait_until_blocked};

/// The `occupancy` program.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_occupancy"))
}

/// How long a long race goes on: `OCCUPANCY_TEST_RACE_SECONDS`, by default 60.
pub(crate) fn race_time() -> Duration {
    let seconds = std::env::var("OCCUPANCY_TEST_RACE_SECONDS").map_or(60, |seconds| {
        seconds.parse().expect("OCCUPANCY_TEST_RACE_SECONDS is a number of seconds")
    });
    Duration::from_secs(seconds)
}

/// Connects, and lets the connection run until the client is dropped.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("the test server answers");
    tokio::spawn(async move {
        // A test that ends while it is connected, or whose connection is killed on purpose.
        let _ = connection.await;
    });
    client
}

/// The server that all tests of this process share.
pub(crate) struct Server {
    /// A superuser's.
    url: String,
    /// Where the server logs, if it is ours.
    log: Option<PathBuf>,
    /// The beginning of the names of this process's databases.
    prefix: String,
    /// What ends with the process.
    _companion: Companion,
}

enum Companion {
    Server(#[expect(dead_code, reason = "held for its end")] Ephemeral),
    Janitor(#[expect(dead_code, reason = "held for its end")] Janitor),
}

impl Server {
    /// The shared server, started on first use.
    pub(crate) async fn shared() -> &'static Self {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        SERVER.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let prefix = format!("occupancy_test_{:08x}", rand::random::<u32>());
        if let Ok(url) = std::env::var("OCCUPANCY_TEST_URL") {
            let janitor = Janitor::for_databases(&url, &prefix);
            return Self { url, log: None, prefix, _companion: Companion::Janitor(janitor) };
        }
        let server = ephemeral(Durability::None).await;
        Self {
            url: server.url().to_owned(),
            log: Some(server.log().to_owned()),
            prefix,
            _companion: Companion::Server(server),
        }
    }

    /// Everything that the server has logged.
    async fn log(&self) -> String {
        if let Some(path) = &self.log {
            let log = std::fs::read(path).expect("the server's log can be read");
            return String::from_utf8_lossy(&log).into_owned();
        }
        connect(&self.url)
            .await
            .query_one("select pg_read_file(pg_current_logfile())", &[])
            .await
            .and_then(|row| row.try_get(0))
            .expect("the server of OCCUPANCY_TEST_URL has logging_collector on")
    }
}

/// A server of the test's own.
pub(crate) async fn ephemeral(durability: Durability) -> Ephemeral {
    let mut options = Options::default();
    options.durability = durability;
    options.guardian = Some(program().to_owned());
    Ephemeral::start_with(options).await.unwrap_or_else(|error| {
        panic!(
            "{error}\n{}\n{}",
            error.detail_text().unwrap_or_default(),
            error.hint_text().unwrap_or_default()
        )
    })
}
