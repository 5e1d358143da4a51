//! One running server: its command line, where it listens, when it is ready, how it ends.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::docker::Container;
use super::{Durability, NAME, Running, failure, io_failure};
use crate::error::{Error, Result};

/// How long a server may take until it answers; recovering from a crash may replay much.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long a server may take to stop before it is told so less politely.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// How often a server that starts is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);
/// What must not stand in a URL as it is (RFC 3986).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a server keeps its files.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Holds everything else, apart perhaps from the socket.
    pub(super) root: PathBuf,
    /// The directory of the socket. Private: whoever may enter it is let in.
    pub(super) socket: PathBuf,
}

impl Layout {
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }
}

/// What is configurable about a server.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) durability: Durability,
    /// Listen on this port of 127.0.0.1.
    pub(super) port: Option<u16>,
    /// Further ones as `name=value`, which win.
    pub(super) further: Vec<String>,
}

impl Settings {
    /// As `name=value`, for `postgres -c`.
    pub(super) fn list(&self) -> Vec<&str> {
        let mut settings = vec![
            "max_connections=300",
            "shared_buffers=128MB",
            // Readers of the log depend on these.
            "logging_collector=off",
            "log_destination=stderr",
            "log_line_prefix=%m [%p] %q%u@%d %e ",
            "log_lock_waits=on",
            "log_timezone=UTC",
            "lc_messages=C",
        ];
        if self.durability == Durability::None {
            settings.extend(["fsync=off", "full_page_writes=off"]);
        }
        settings.extend(self.further.iter().map(String::as_str));
        settings
    }
}

/// How to connect.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// A directory or an address, ready for a URL.
    host: String,
    /// A container's port is known only after it was started.
    port: Option<u16>,
    password: Option<String>,
}

impl Access {
    pub(super) fn socket(directory: &Path) -> Result<Self> {
        let path = directory
            .to_str()
            .ok_or_else(|| failure(format!("{} is not valid UTF-8", directory.display())))?;
        let host = utf8_percent_encode(path, RESERVED).to_string();
        Ok(Self { host, port: None, password: None })
    }

    pub(super) fn tcp(port: Option<u16>, password: Option<String>) -> Self {
        Self { host: "127.0.0.1".to_owned(), port, password }
    }

    /// A URL that psql and the driver understand.
    pub(super) fn url(&self, database: &str) -> String {
        let password = self.password.as_ref().map(|it| format!(":{it}")).unwrap_or_default();
        match self.port {
            Some(port) => format!("postgresql://{NAME}{password}@{}:{port}/{database}", self.host),
            None => format!("postgresql://{NAME}{password}@/{database}?host={}", self.host),
        }
    }
}

/// A server process that was started and must be [stopped](Server::stop).
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Inherited by every process of the server and written by none: it ends with the last one.
    everybody: ChildStdout,
    log: PathBuf,
    access: Access,
    container: Option<Container>,
}

/// How to end a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// Disconnect everybody and write everything down.
    Fast,
    /// Drop everything; the data is thrown away.
    Immediate,
}

impl Server {
    /// Starts `command`, with what it says on standard error as the log.
    pub(super) fn spawn(
        mut command: Command,
        log: &Path,
        access: Access,
        container: Option<Container>,
    ) -> Result<Self> {
        let stderr = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)
            .map_err(|e| io_failure(format_args!("cannot write {}", log.display()), e))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // The last resort should this process panic.
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| io_failure("cannot start the server", e))?;
        let everybody =
            child.stdout.take().ok_or_else(|| failure("the server has no standard output"))?;
        Ok(Self { child, everybody, log: log.to_owned(), access, container })
    }

    /// Waits until the server answers and has our database.
    pub(super) async fn ready(&mut self, version: String) -> Result<Running> {
        let mut tick = interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = timeout(START_PATIENCE, async {
            while !self.answers().await? {
                tick.tick().await;
            }
            Ok(())
        })
        .await;
        started.unwrap_or_else(|_| {
            Err(failure("the server does not answer").detail(tail(&self.log)))
        })?;
        Ok(Running {
            url: self.access.url(NAME),
            version,
            log: self.log.clone(),
            port: self.access.port,
            guardian: std::process::id(),
            process: self.child.id().unwrap_or_default(),
        })
    }

    /// Whether the server can be used; an error if it never will.
    async fn answers(&mut self) -> Result<bool> {
        if let Some(status) = self.child.try_wait().map_err(|e| io_failure("cannot wait", e))? {
            return Err(self.ended_with(status));
        }
        if let (Some(container), None) = (&self.container, self.access.port) {
            self.access.port = container.port().await;
            if self.access.port.is_none() {
                return Ok(false);
            }
        }
        let (client, connection) =
            match tokio_postgres::connect(&self.access.url("postgres"), NoTls).await {
                Ok(connected) => connected,
                Err(error) if is_not_yet(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
        let connection = tokio::spawn(connection);
        let known = client
            .query_opt("select from pg_catalog.pg_database where datname = $1", &[&NAME])
            .await?;
        if known.is_none() {
            client.batch_execute(&format!("create database {NAME}")).await?;
        }
        drop(client);
        // Until the server has seen it off, nobody can use the database as a template.
        let _ = connection.await;
        Ok(true)
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for a server that nobody stops, and says how it ended.
    pub(super) async fn ended(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => self.ended_with(status),
            Err(error) => io_failure("cannot wait for the server", error),
        }
    }

    fn ended_with(&self, status: ExitStatus) -> Error {
        failure(format!("the server ended ({status})")).detail(tail(&self.log))
    }

    /// Ends the server, if it has not ended already, and waits until its last process is gone.
    pub(super) async fn stop(mut self, shutdown: Shutdown) -> Result<()> {
        match &self.container {
            Some(container) => container.remove(&mut self.child, shutdown).await?,
            None => self.stop_processes(shutdown).await?,
        }
        // The postmaster ends last, unless it was killed: then the others are just finding out.
        let mut nowhere = tokio::io::sink();
        let everybody = tokio::io::copy(&mut self.everybody, &mut nowhere);
        match timeout(STOP_PATIENCE, everybody).await {
            Ok(_) => Ok(()),
            Err(_) => Err(failure("the server left processes behind").detail(tail(&self.log))),
        }
    }

    async fn stop_processes(&mut self, shutdown: Shutdown) -> Result<()> {
        let signals = match shutdown {
            Shutdown::Fast => [Signal::SIGINT, Signal::SIGQUIT].as_slice(),
            Shutdown::Immediate => [Signal::SIGQUIT].as_slice(),
        };
        for signal in signals {
            // An id is none any more once the process was waited for.
            let Some(id) = self.child.id() else { return Ok(()) };
            let _ = kill(Pid::from_raw(id.cast_signed()), *signal);
            if timeout(STOP_PATIENCE, self.child.wait()).await.is_ok() {
                return Ok(());
            }
        }
        self.child.kill().await.map_err(|e| io_failure("cannot end the server", e))
    }
}

/// Whether this only means that the server is still starting.
fn is_not_yet(error: &tokio_postgres::Error) -> bool {
    error.code().is_none_or(|code| *code == SqlState::CANNOT_CONNECT_NOW)
}

/// The end of the log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(10)..].join("\n");
    format!("the end of {}:\n{tail}", log.display())
}

/// A command whose process is told to stop when this one dies, even from a `SIGKILL`, where the
/// system can do that.
///
/// The kernel watches the thread that starts the command: it must not end before the process.
pub(super) fn leashed(program: &Path) -> Command {
    leashed_by("INT", program)
}

/// As [`leashed`], with a signal other than the one to stop.
pub(crate) fn leashed_by(signal: &str, program: &Path) -> Command {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    const LEASH: [&str; 2] = ["setpriv", "--pdeathsig"];
    let available = *AVAILABLE.get_or_init(|| {
        std::process::Command::new(LEASH[0])
            .args(&LEASH[1..])
            .args(["INT", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    if !available {
        return Command::new(program);
    }
    let mut command = Command::new(LEASH[0]);
    command.args(&LEASH[1..]).arg(signal).arg(program);
    command
}
