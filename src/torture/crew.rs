//! The manager processes, as whoever started them sees them.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use super::MANAGER_SUBCOMMAND;
use super::call::Event;
use super::faketime::Clock;
use super::manager::Order;
use crate::error::{Error, ErrorKind, Result};
use crate::server::node::leashed_by;

/// How long a manager may take to finish the calls that it has begun.
const FAREWELL: Duration = Duration::from_secs(60);

/// What is heard of a manager.
pub(super) enum News {
    Event(Arc<str>, Event),
    /// Nothing more will be heard of this one.
    Gone(Arc<str>),
}

pub(super) struct Manager {
    /// Who it is, and which start of it.
    pub(super) name: Arc<str>,
    pub(super) clock: Option<Clock>,
    number: usize,
    start: u32,
    child: Child,
    lifeline: Option<ChildStdin>,
}

/// What all managers are started with.
pub(super) struct Employer {
    pub(super) database: String,
    pub(super) workers: usize,
    pub(super) seed: u64,
    pub(super) directory: PathBuf,
    pub(super) news: UnboundedSender<News>,
}

impl Employer {
    pub(super) async fn hire(&self, number: usize) -> Result<Manager> {
        self.start(number, 1).await
    }

    /// Starts the successor of one that is dead.
    pub(super) async fn replace(&self, dead: &Manager) -> Result<Manager> {
        self.start(dead.number, dead.start + 1).await
    }

    async fn start(&self, number: usize, start: u32) -> Result<Manager> {
        let name: Arc<str> = Arc::from(format!("torture-{number}.{start}"));
        let clock = Clock::find(&self.directory.join(format!("clock-{number}")))?;
        let mut child = command(clock.as_ref())?.spawn().map_err(failure)?;
        let order = Order {
            name: name.to_string(),
            manager: holder(number),
            database: self.database.clone(),
            workers: self.workers,
            seed: self.seed ^ (number as u64) << 32 ^ u64::from(start) << 16,
        };
        let mut line = serde_json::to_vec(&order).map_err(|error| failure(error.into()))?;
        line.push(b'\n');
        let mut lifeline = child.stdin.take();
        if let Some(lifeline) = &mut lifeline {
            lifeline.write_all(&line).await.map_err(failure)?;
        }
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(listen(Arc::clone(&name), stdout, self.news.clone()));
        }
        Ok(Manager { name, clock, number, start, child, lifeline })
    }
}

/// The program again, in a way that leaves none of it behind when this process is killed, not
/// even one that is frozen.
fn command(clock: Option<&Clock>) -> Result<Command> {
    let program = std::env::current_exe().map_err(failure)?;
    let mut command = leashed_by("KILL", &program);
    command
        .arg(MANAGER_SUBCOMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C in the terminal is for us.
        .process_group(0)
        .kill_on_drop(true);
    if let Some(clock) = clock {
        command.envs(clock.environment());
    }
    Ok(command)
}

async fn listen(name: Arc<str>, stdout: ChildStdout, news: UnboundedSender<News>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // The last one of a process that was killed may be in pieces: that call was never sent.
        if let Ok(event) = serde_json::from_str(&line)
            && news.send(News::Event(Arc::clone(&name), event)).is_err()
        {
            return;
        }
    }
    let _ = news.send(News::Gone(name));
}

/// The name of a manager as a holder.
fn holder(number: usize) -> String {
    format!("torture-{number}")
}

impl Manager {
    pub(super) fn holder(&self) -> String {
        holder(self.number)
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.map_err(failure)
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(id) = self.child.id() {
            let _ = kill(Pid::from_raw(id.cast_signed()), signal);
        }
    }

    /// Has it finish what it has begun.
    pub(super) fn dismiss(&mut self) {
        self.lifeline = None;
    }

    /// Waits for its end; one that overstays its welcome is killed, and `false` returned.
    pub(super) async fn leave(&mut self) -> Result<bool> {
        self.dismiss();
        match timeout(FAREWELL, self.child.wait()).await {
            Ok(status) => status.map(|status| status.success()).map_err(failure),
            Err(_) => self.kill().await.map(|()| false),
        }
    }
}

fn failure(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "a manager process").caused_by(error)
}
