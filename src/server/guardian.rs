//! The guardian: the process that owns a server, so that the server ends when its owner does.
//!
//! The owner writes one line, the order, to the guardian's standard input and keeps that open.
//! The guardian writes its replies to standard output. What it has started it also stops,
//! on the end of its input or on `SIGTERM`, at any point of its life.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::unistd::{dup2_stderr, dup2_stdout};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::home::{Home, Joined, Keeper, Prepared, User};
use super::process::{Layout, Server, Settings, Shutdown};
use super::source::{Existing, Source};
use super::{Durability, Running, failure, io_failure};
use crate::error::{Error, Result};

/// The first argument that makes the program a guardian. Not for people.
pub const SUBCOMMAND: &str = "guard";

/// How long the backends of a postmaster that was killed may take to notice.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(10);

/// What the owner wants.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// A server that is thrown away.
    Ephemeral { durability: Durability },
    /// The server of a data directory.
    Embedded { data_dir: PathBuf, port: Option<u16>, purpose: Purpose },
}

/// How long the server of a data directory is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// As long as the owner, or anybody else, uses it.
    Borrow,
    /// As long as the owner, who will be told to stop it; if it already runs, until it is stopped.
    Serve,
    /// Until it is stopped.
    Detach,
}

impl Order {
    /// Whether the guardian goes on after its owner.
    pub(super) fn outlives_owner(&self) -> bool {
        matches!(self, Self::Embedded { purpose: Purpose::Detach, .. })
    }
}

/// What the guardian answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The server can be used.
    Ready(Ready),
    /// It could not be started, has ended, or could not be stopped. The guardian ends.
    Failed(Failed),
    /// The owner may go; the guardian stays, as others use the server.
    Lingering,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) running: Running,
    /// Whether it was running before.
    pub(super) reused: bool,
}

/// An [`Error`] on its way to the owner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failed {
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            message: error.to_string(),
            detail: error.detail_text().map(str::to_owned),
            hint: error.hint_text().map(str::to_owned),
        }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        let mut error = failure(failed.message);
        if let Some(detail) = failed.detail {
            error = error.detail(detail);
        }
        if let Some(hint) = failed.hint {
            error = error.hint(hint);
        }
        error
    }
}

/// Runs this process as a guardian. Call it first thing in `main`, before any thread is started.
#[must_use]
pub fn run() -> ExitCode {
    // One thread: the server's processes are leashed to the thread that starts them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(guard()),
        Err(error) => Err(io_failure("cannot start", error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Reply::Failed(error.into()));
            ExitCode::FAILURE
        }
    }
}

async fn guard() -> Result<()> {
    let mut leave = Leave::new()?;
    match leave.order().await? {
        Order::Ephemeral { durability } => ephemeral(durability, &mut leave).await,
        Order::Embedded { data_dir, port, purpose } => {
            embedded(&Home::open(&data_dir)?, port, purpose, &mut leave).await
        }
    }
}

/// Why a guardian should come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Standard input ended.
    OwnerGone,
    /// Told so by a signal.
    Told,
}

/// The request to end, which may come at any time.
struct Leave {
    input: Lines<BufReader<Receiver>>,
    signals: Signals,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Only held, so that closing a terminal does not end a guardian that was detached from it.
    _hangup: Signal,
}

impl Leave {
    fn new() -> Result<Self> {
        let input = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .and_then(Receiver::from_owned_fd)
            .map_err(|e| failure(format!("`{SUBCOMMAND}` is not for people")).caused_by(e))?;
        let listen = |kind| signal(kind).map_err(|e| io_failure("cannot listen to signals", e));
        let signals = Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            _hangup: listen(SignalKind::hangup())?,
        };
        Ok(Self { input: BufReader::new(input).lines(), signals })
    }

    async fn order(&mut self) -> Result<Order> {
        let line =
            self.input.next_line().await.map_err(|e| io_failure("cannot read the order", e))?;
        serde_json::from_str(&line.unwrap_or_default())
            .map_err(|e| failure(format!("`{SUBCOMMAND}` is not for people")).caused_by(e))
    }

    async fn requested(&mut self) -> Cause {
        tokio::select! {
            _ = self.input.next_line() => Cause::OwnerGone,
            () = self.signals.told() => Cause::Told,
        }
    }
}

impl Signals {
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn ephemeral(durability: Durability, leave: &mut Leave) -> Result<()> {
    let source = Source::find(Existing::Nothing).await?;
    tokio::select! {
        fetched = source.fetch() => fetched?,
        _ = leave.requested() => return Ok(()),
    }
    let directory = source.private_temporary().await?;
    let root = directory.path().to_owned();
    let layout = Layout { socket: root.clone(), root };
    let settings = Settings { durability, port: None, further: Vec::new() };
    let mut server = source.launch_ephemeral(&layout, &settings).await?;

    let outcome = async {
        let Some(running) = until_ready(&mut server, &source, leave).await? else { return Ok(()) };
        say(&Reply::Ready(Ready { running, reused: false }));
        tokio::select! {
            error = server.ended() => Err(error),
            _ = leave.requested() => Ok(()),
        }
    }
    .await;
    let stopped = server.stop(Shutdown::Immediate).await;
    let removed = directory
        .close()
        .map_err(|e| io_failure(format_args!("cannot remove {}", layout.root.display()), e));
    outcome.and(stopped).and(removed)
}

/// What runs, or nothing if the end came first.
async fn until_ready(
    server: &mut Server,
    source: &Source,
    leave: &mut Leave,
) -> Result<Option<Running>> {
    tokio::select! {
        running = server.ready(source.describe()) => running.map(Some),
        _ = leave.requested() => Ok(None),
    }
}

/// Joins those who use the server, as its keeper if there is none.
async fn embedded(
    home: &Home,
    port: Option<u16>,
    purpose: Purpose,
    leave: &mut Leave,
) -> Result<()> {
    let joined = tokio::select! {
        joined = home.join() => joined?,
        _ = leave.requested() => return Ok(()),
    };
    match joined {
        Joined::First(user, keeper) => {
            home.keep_running(purpose == Purpose::Detach)?;
            keep(home, keeper, user, port, leave).await
        }
        Joined::Further(_user, running) => {
            if port.is_some() && running.port != port {
                return Err(other_port(home, &running));
            }
            if purpose != Purpose::Borrow {
                home.keep_running(true)?;
            }
            say(&Reply::Ready(Ready { running, reused: true }));
            leave.requested().await;
            Ok(())
        }
    }
}

fn other_port(home: &Home, running: &Running) -> Error {
    let now = running.port.map_or("without a port".to_owned(), |port| format!("on port {port}"));
    failure(format!("the server of {} already runs, {now}", home.root().display()))
        .hint("stop it first: occupancy down")
}

/// Runs the server until nobody wants it any more.
async fn keep(
    home: &Home,
    mut keeper: Keeper,
    user: User,
    port: Option<u16>,
    leave: &mut Leave,
) -> Result<()> {
    let prepared = prepare(home, &mut keeper, port, leave).await;
    if !matches!(prepared, Ok(Some(_))) {
        home.forget_if_unused();
    }
    let Some(prepared) = prepared? else { return Ok(()) };
    let orphans_may_take = Instant::now() + ORPHAN_PATIENCE;
    loop {
        let mut server = prepared.launch()?;
        let outcome = async {
            let ready = until_ready(&mut server, prepared.source(), leave).await?;
            let Some(running) = ready else { return Ok(()) };
            keeper.announce(&running)?;
            say(&Reply::Ready(Ready { running, reused: false }));
            tokio::select! {
                error = server.ended() => Err(error),
                () = unwanted(home, &user, leave) => Ok(()),
            }
        }
        .await;
        let stopped = server.stop(Shutdown::Fast).await;
        let orphaned = outcome.as_ref().is_err_and(is_held_by_orphans);
        if !orphaned || Instant::now() > orphans_may_take {
            return outcome.and(stopped);
        }
    }
}

/// Makes everything ready for the server to be launched; nothing if the end came first.
async fn prepare(
    home: &Home,
    keeper: &mut Keeper,
    port: Option<u16>,
    leave: &mut Leave,
) -> Result<Option<Prepared>> {
    keeper.take_over()?;
    let source = Source::find(home.holds()?).await?;
    tokio::select! {
        fetched = source.fetch() => fetched?,
        _ = leave.requested() => return Ok(None),
    }
    home.prepare(source, port).await.map(Some)
}

/// Whether the backends of a postmaster that was killed have not yet noticed.
fn is_held_by_orphans(error: &Error) -> bool {
    error.detail_text().is_some_and(|log| log.contains("pre-existing shared memory block"))
}

/// Waits until the server should be stopped.
async fn unwanted(home: &Home, user: &User, leave: &mut Leave) {
    if leave.requested().await == Cause::Told || user.is_last(home) {
        return;
    }
    say(&Reply::Lingering);
    let_go_of_output();
    tokio::select! {
        () = leave.signals.told() => {}
        () = user.last(home) => {}
    }
}

/// Whoever reads our owner's output to its end must not wait for us.
fn let_go_of_output() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
}

fn say(reply: &Reply) {
    // Whoever asked may be gone; nobody is left to be told of that.
    let mut stdout = io::stdout().lock();
    let _ = serde_json::to_writer(&mut stdout, reply);
    let _ = stdout.write_all(b"\n").and_then(|()| stdout.flush());
}
