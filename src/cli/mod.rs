//! The `occupancy` command: every subcommand is a call of the library and its answer in print.
//!
//! Results go to standard output, for people or, with `--json`, as one JSON value; progress and
//! errors go to standard error. Exit codes: 0 fine, 1 error, 2 usage, 3 unsound, 4 rejected, and
//! 128 plus the signal's number for a command that was interrupted.

mod bench;
mod database;
mod demo;
mod holder;
mod input;
mod interruption;
mod output;
mod queue;
mod registry;
mod repair;
mod replay;
mod schema;
mod scratch;
mod session;
mod status;
mod summary;
mod torture;
mod up;

use std::io;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use self::database::Database;
use self::interruption::Interruption;
use crate::error::{Error, ErrorKind, Result};
use crate::handles::Handles;

/// Exact concurrency limits and agent occupancy for session platforms, in PostgreSQL alone.
#[derive(Debug, Parser)]
#[command(name = "occupancy", version, max_term_width = 100)]
#[command(after_help = "Try it: occupancy demo", after_long_help = LONG_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// Work on this server instead of the one that the environment names.
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    database_url: Option<String>,
    /// Print JSON, on standard error also for an error.
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Tell on standard error what is done.
    #[arg(short, long, global = true, help_heading = "Global options")]
    verbose: bool,
}

const LONG_HELP: &str = "\
The server is the one of --database-url (postgresql://user@host/database or \"host=… dbname=…\"), \
of DATABASE_URL or of the PG* variables. With none of them it is an embedded PostgreSQL, started \
for as long as a command needs it or kept running by `occupancy up`.

Exit codes: 0 fine, 1 error, 2 usage, 3 unsound (audit, schema verify), 4 rejected.

Try it: occupancy demo";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Up(up::Up),
    Down(up::Down),
    Migrate(schema::Migrate),
    #[command(subcommand)]
    Schema(schema::Schema),
    #[command(flatten)]
    Call(Call),
    Replay(replay::Replay),
    Bench(bench::Bench),
    Torture(torture::Torture),
    #[command(hide = true)]
    TortureManager(torture::TortureManager),
}

/// Commands that call a function of the installed schema.
#[derive(Debug, Subcommand)]
enum Call {
    #[command(subcommand)]
    Policy(registry::Policy),
    #[command(subcommand)]
    Key(registry::Key),
    #[command(subcommand)]
    Quota(registry::Quota),
    #[command(subcommand)]
    Agent(registry::Agent),
    Check(session::Check),
    Reserve(session::Reserve),
    Release(session::Release),
    ReleaseKernel(session::ReleaseKernel),
    Terminate(session::Terminate),
    Settle(session::Settle),
    Session(session::Show),
    Status(status::Status),
    Audit(repair::Audit),
    #[command(subcommand)]
    Recalc(repair::Recalc),
    Prune(repair::Prune),
    #[command(subcommand)]
    Manager(holder::Manager),
    Confirm(holder::Confirm),
    Reclaim(holder::Reclaim),
    Enqueue(queue::Enqueue),
    Cancel(queue::Cancel),
    Expire(queue::Expire),
    Tick(queue::Tick),
    Queue(queue::Listing),
    #[command(subcommand)]
    Explain(queue::Explain),
}

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// A stored number or a function is not as it should be.
    Unsound,
    /// A limit stands in the way, or something in use cannot be dropped.
    Rejected,
    /// A signal of this number ended it.
    Interrupted(u8),
}

impl Verdict {
    /// Rejected if `condition` holds.
    fn rejected_if(condition: bool) -> Self {
        if condition { Self::Rejected } else { Self::Fine }
    }

    /// Unsound if `condition` holds.
    fn unsound_if(condition: bool) -> Self {
        if condition { Self::Unsound } else { Self::Fine }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(match verdict {
            Verdict::Fine => 0,
            Verdict::Unsound => 3,
            Verdict::Rejected => 4,
            Verdict::Interrupted(signal) => 128 + signal,
        })
    }
}

/// Runs the command line of this process to its end.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.global.verbose {
        trace();
    }
    let json = cli.global.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => Err(Error::new(ErrorKind::Io, "cannot start").caused_by(error)),
    };
    outcome.map_or_else(
        |error| {
            output::error(&error, json);
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

fn trace() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "occupancy=info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(io::stderr)
        .init();
}

impl Cli {
    async fn run(self) -> Result<Verdict> {
        let Self { global, command } = self;
        let interruption = Interruption::listen()?;
        let json = global.json;
        match command {
            Command::Up(up) => up.run(json, interruption).await,
            Command::Down(down) => down.run(json).await,
            Command::Demo(demo) => interruption.or(demo.run(json)).await,
            Command::Migrate(migrate) => {
                let work = Database::with(&global, async |db| migrate.run(db.config(), json).await);
                interruption.or(work).await
            }
            Command::Schema(schema::Schema::Print) => schema::print(json),
            Command::Schema(schema) => {
                let work = Database::with(&global, async |db| schema.run(db.config(), json).await);
                interruption.or(work).await
            }
            Command::Bench(bench) => bench.run(&global, interruption).await,
            Command::Torture(torture) => Box::pin(torture.run(json, interruption)).await,
            Command::TortureManager(manager) => manager.run().await,
            Command::Replay(replay) => {
                let work = Database::with(&global, async |db| replay.run(db.config(), json).await);
                interruption.or(work).await
            }
            Command::Call(call) => {
                let work =
                    Database::with(&global, async |db| call.run(&db.handles().await?, json).await);
                interruption.or(work).await
            }
        }
    }
}

impl Call {
    async fn run(self, handles: &Handles, json: bool) -> Result<Verdict> {
        match self {
            Self::Policy(policy) => policy.run(handles.tracker(), json).await,
            Self::Key(key) => key.run(handles.tracker(), json).await,
            Self::Quota(quota) => quota.run(handles.tracker(), json).await,
            Self::Agent(agent) => agent.run(handles.agents(), json).await,
            Self::Check(check) => check.run(handles.tracker(), json).await,
            Self::Reserve(reserve) => reserve.run(handles.tracker(), json).await,
            Self::Release(release) => release.run(handles.tracker(), json).await,
            Self::ReleaseKernel(release) => release.run(handles.tracker(), json).await,
            Self::Terminate(terminate) => terminate.run(handles.tracker(), json).await,
            Self::Settle(settle) => settle.run(handles.tracker(), json).await,
            Self::Session(show) => show.run(handles.tracker(), json).await,
            Self::Status(status) => status.run(handles, json).await,
            Self::Audit(audit) => audit.run(handles.tracker(), json).await,
            Self::Recalc(recalc) => recalc.run(handles, json).await,
            Self::Prune(prune) => prune.run(handles.tracker(), json).await,
            Self::Manager(manager) => manager.run(handles.tracker(), json).await,
            Self::Confirm(confirm) => confirm.run(handles.tracker(), json).await,
            Self::Reclaim(reclaim) => reclaim.run(handles.tracker(), json).await,
            Self::Enqueue(enqueue) => enqueue.run(handles.queue(), json).await,
            Self::Cancel(cancel) => cancel.run(handles.queue(), json).await,
            Self::Expire(expire) => expire.run(handles.queue(), json).await,
            Self::Tick(tick) => tick.run(handles.queue(), json).await,
            Self::Queue(listing) => listing.run(handles.queue(), json).await,
            Self::Explain(explain) => explain.run(handles.queue(), json).await,
        }
    }
}
