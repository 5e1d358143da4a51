//! Measures what a reservation costs beside the least that it could cost.
//!
//! A [`Scenario`] says what is asked for. For each number of clients it is a *contest* of two teams
//! that take turns, slice by slice, in one run: ours, and the one that it is compared with. Usually
//! that is the *floor*, functions in `benches/floor` that write the same rows and check nothing.
//! Every figure is the median of the slices, so that a disturbance of the machine meets both teams
//! and mostly drops out.
//!
//! | module | concern |
//! |---|---|
//! | `scenario` | what is measured, and beside what |
//! | `databases` | databases of the run's own, and their end |
//! | `ground` | what is registered and what has happened before the start |
//! | `contest` | two teams take turns |
//! | `player` | one client that does the same again and again |
//! | `managers` | managers that place what waits, tick by tick |
//! | `order`, `calls`, `link` | what it asks for, in which words, over which connection |
//! | `pgbench` | the reservation through pgbench |
//! | `effort` | for how long it kept processors busy |
//! | `figure`, `conditions` | what was measured, and where |
//! | `soak` | a long run, and whether anything creeps |

mod calls;
mod conditions;
mod contest;
mod databases;
mod effort;
mod figure;
mod ground;
mod link;
mod managers;
mod order;
mod pgbench;
mod player;
mod scenario;
pub(crate) mod soak;

use std::fmt::Display;
use std::time::Duration;

pub(crate) use self::conditions::Conditions;
pub(crate) use self::databases::Databases;
pub(crate) use self::figure::Figure;
pub(crate) use self::scenario::Scenario;

use self::contest::Contest;
use crate::error::{Error, ErrorKind, Result};
use crate::workload::progress::Progress;

/// What is to be measured, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) scenarios: Vec<Scenario>,
    /// Instead of those of each scenario.
    pub(crate) clients: Vec<usize>,
    pub(crate) slices: usize,
    pub(crate) slice: Duration,
    pub(crate) protocol: Protocol,
    pub(crate) seed: u64,
    pub(crate) sizes: Sizes,
}

/// How calls are sent, by both teams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// As the client does: unnamed statements with the types stated, one round trip a call.
    Unnamed,
    /// Statements that each connection prepares once.
    Prepared,
}

/// How large the database is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sizes")]
pub(crate) struct Sizes {
    /// Access keys.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) keys: u32,
    /// Agents.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) agents: u32,
    /// Sessions in a batch.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// Sessions that wait before a tick, and agents that they wait for.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) waiting: u32,
    /// Ended sessions behind `history` and `tick-history`.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) ended: u32,
    /// Live sessions behind `history`.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) live: u32,
    /// Live sessions of the one key of `many-live`, agents of `many-agents`; beside 10 each.
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) many: u32,
}

/// Measures every scenario with every number of clients; all or nothing.
///
/// Whatever comes of it, the databases are the caller's to [drop](Databases::drop_all).
pub(crate) async fn run(
    databases: &Databases,
    options: &Options,
    progress: &Progress,
) -> Result<Vec<Figure>> {
    databases.prepare().await?;
    let contests: Vec<_> = options
        .scenarios
        .iter()
        .flat_map(|scenario| {
            let usual = scenario.clients();
            let clients = if options.clients.is_empty() { usual } else { &options.clients };
            clients.iter().map(|clients| Contest::new(*scenario, *clients, options))
        })
        .collect();
    progress.start(contests.iter().map(Contest::rounds).sum());
    let figures = take_turns(databases, &contests, progress).await;
    progress.finish();
    figures
}

async fn take_turns(
    databases: &Databases,
    contests: &[Contest<'_>],
    progress: &Progress,
) -> Result<Vec<Figure>> {
    let mut figures = Vec::with_capacity(contests.len());
    let mut rounds = 0;
    for contest in contests {
        let figure = contest
            .run(databases, |round, message| progress.update(rounds + round, message))
            .await
            .map_err(|error| while_measuring(contest, error))?;
        rounds += contest.rounds();
        figures.push(figure);
    }
    Ok(figures)
}

/// Says what the run was at; a lost connection is told in the words of whoever watches it.
fn while_measuring(what: impl Display, error: Error) -> Error {
    if error.kind() == ErrorKind::Connection {
        return Error::new(
            ErrorKind::Connection,
            format!("the server went away while {what} was measured"),
        )
        .detail(error.to_string())
        .hint("what is not printed was not measured to its end: look at the server's log, then run again")
        .caused_by(error);
    }
    let place = format!("while {what} was measured");
    let detail = match error.detail_text() {
        Some(detail) => format!("{detail} ({place})"),
        None => place,
    };
    error.detail(detail)
}
