//! `occupancy bench`: what a reservation costs.

mod soak;
mod table;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::bench::{self, Conditions, Databases, Figure, Options, Protocol, Scenario, Sizes};
use crate::cli::interruption::Interruption;
use crate::cli::{Global, Verdict, output};
use crate::config::Config;
use crate::error::Result;
use crate::server::Ephemeral;
use crate::workload::progress::Progress;

/// Measures reservations beside the least that they could cost, in turns within one run.
///
/// Makes databases of its own on the server, and drops them at the end whatever happens. Without
/// a server it starts one that writes through to the disk, for as long as it takes.
///
/// Each figure is the median of the slices. An operation is a session; with `pair`, reserving and
/// releasing it. Times are those of a call, with `pair` of both. A session that is not admitted,
/// or is admitted where there is no room, is an error and not a figure.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy bench cold hot-key --clients 1,16 --seconds 5")]
#[command(subcommand_precedence_over_arg = true, disable_help_subcommand = true)]
pub(super) struct Bench {
    #[command(subcommand)]
    long: Option<Long>,
    #[command(flatten)]
    turns: Turns,
}

#[derive(Debug, Subcommand)]
enum Long {
    Soak(soak::Soak),
}

#[derive(Debug, Args)]
struct Turns {
    /// What to measure [default: cold to client-side]
    #[arg(value_name = "SCENARIO", hide_default_value = true)]
    scenarios: Vec<Scenario>,
    /// How many clients work at once, or several such numbers; each with a connection.
    #[arg(long, value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: Vec<u16>,
    /// How long a slice is.
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// How many slices each side gets.
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    slices: u16,
    /// Everything that is measured in turns.
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Print the table in Markdown, as docs/performance.md has it.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Prepare each statement once, which a pooler in transaction mode may not allow.
    #[arg(long)]
    prepared: bool,
    /// What is asked for follows from this number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    sizes: Sizes,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.01 to 3600 is needed".to_owned()),
    }
}

/// A line of JSON says all that is to be known about a figure.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    figure: &'a Figure,
    protocol: &'a str,
    server: &'a Conditions,
}

impl Bench {
    pub(super) async fn run(self, global: &Global, interruption: Interruption) -> Result<Verdict> {
        if self.long.is_some()
            && (self.turns.all
                || self.turns.markdown
                || !self.turns.scenarios.is_empty()
                || !self.turns.clients.is_empty())
        {
            let message = "`soak` is measured alone; its options follow it\n";
            clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, message).exit();
        }
        let mut place = Place::default();
        let verdict = match self.long {
            Some(Long::Soak(soak)) => interruption.or(soak.measure(global, &mut place)).await,
            None => interruption.or(self.turns.measure(global, &mut place)).await,
        };
        // Whatever came of it: the databases go, then the server.
        let cleared = place.clear().await;
        match (verdict, cleared) {
            // The first error, with what is left to be done.
            (Err(error), Err(left)) => Err(match left.hint_text() {
                Some(hint) => error.hint(hint),
                None => error,
            }),
            (verdict, cleared) => verdict.and_then(|verdict| cleared.map(|()| verdict)),
        }
    }
}

impl Turns {
    async fn measure(self, global: &Global, place: &mut Place) -> Result<Verdict> {
        let progress = Progress::new();
        let databases = place.open(global, &progress).await?;
        let server = Conditions::of(databases).await?;
        let markdown = self.markdown;
        let options = self.options();
        let figures = bench::run(databases, &options, &progress).await?;
        if global.json {
            let protocol = name(options.protocol);
            return figures
                .iter()
                .try_for_each(|figure| output::json(&Line { figure, protocol, server: &server }))
                .map(|()| Verdict::Fine);
        }
        let conditions = format!("{}\n{}", conditions(&server), describe(&options));
        let text = if markdown {
            table::markdown(&conditions, &figures)
        } else {
            table::plain(&conditions, &figures)
        };
        output::line(text).map(|()| Verdict::Fine)
    }

    fn options(self) -> Options {
        let scenarios = match self.scenarios {
            _ if self.all => Scenario::value_variants().to_vec(),
            none if none.is_empty() => Scenario::USUAL.to_vec(),
            some => some,
        };
        Options {
            scenarios,
            clients: self.clients.into_iter().map(usize::from).collect(),
            slices: usize::from(self.slices),
            slice: Duration::from_secs_f64(self.seconds),
            protocol: if self.prepared { Protocol::Prepared } else { Protocol::Unnamed },
            seed: self.seed,
            sizes: self.sizes,
        }
    }
}

/// What there is to clear up.
#[derive(Default)]
struct Place {
    databases: Option<Databases>,
    server: Option<Ephemeral>,
}

impl Place {
    async fn open(&mut self, global: &Global, progress: &Progress) -> Result<&Databases> {
        let config = if let Some(config) = global.configured()? {
            config
        } else {
            progress.say("starting PostgreSQL");
            self.server.insert(Ephemeral::start().await?).url().parse::<Config>()?
        };
        Ok(self.databases.insert(Databases::new(config)))
    }

    async fn clear(self) -> Result<()> {
        match (self.server, self.databases) {
            (Some(server), _) => server.stop().await,
            (None, Some(databases)) => databases.drop_all().await,
            (None, None) => Ok(()),
        }
    }
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unnamed => "unnamed",
        Protocol::Prepared => "prepared",
    }
}

/// The server, for people.
fn conditions(conditions: &Conditions) -> String {
    let settings: Vec<_> = conditions
        .settings
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut lines = vec![conditions.version.clone(), settings.join(" ")];
    if let Some(cpus) = conditions.client_cpus {
        lines.push(format!("{cpus} processors where the clients run"));
    }
    if !conditions.durable {
        lines.push("Commits do not wait for the disk here: the figures say little.".to_owned());
    }
    lines.join("\n")
}

fn describe(options: &Options) -> String {
    format!(
        "medians of {} slices of {} s each, {} statements",
        options.slices,
        options.slice.as_secs_f64(),
        name(options.protocol),
    )
}
