//! `occupancy bench soak`: whether anything creeps in a long run.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Place, conditions, seconds};
use crate::bench::Conditions;
use crate::bench::soak::{Endurance, Options, run};
use crate::cli::{Global, Verdict, output};
use crate::error::Result;
use crate::workload::progress::Progress;

/// Reserves and releases for long, first alone, then beside a transaction that is left idle.
///
/// Ended sessions are forgotten meanwhile, once they are older than the retention. Compares the last
/// tenth with the first: speed, and the size of every table and index. Says which goals were missed:
/// 0.9 of the speed, 3 times the size of all but the remembered sessions, 95 % of the updates of
/// keys and agents in place.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy bench soak --pairs 100000 --retention 10")]
pub(super) struct Soak {
    /// Sessions that are reserved and released, in each of the two runs.
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pairs: u64,
    /// How many clients work at once.
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How many seconds an ended session is remembered; an operator would rather keep it 24 hours.
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = seconds)]
    retention: f64,
    /// Access keys.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// Agents.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    agents: u32,
    /// What is asked for follows from this number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    #[serde(flatten)]
    endurance: &'a Endurance,
    server: &'a Conditions,
}

impl Soak {
    pub(super) async fn measure(self, global: &Global, place: &mut Place) -> Result<Verdict> {
        let progress = Progress::new();
        let databases = place.open(global, &progress).await?;
        let server = Conditions::of(databases).await?;
        let runs = run(databases, &self.options(), &progress).await?;
        if global.json {
            for endurance in &runs {
                output::json(&Line { scenario: "soak", endurance, server: &server })?;
            }
            return Ok(Verdict::Fine);
        }
        output::line(format_args!("\n{}", conditions(&server)))?;
        for endurance in &runs {
            output::line(format_args!("\n{}", describe(endurance)))?;
        }
        Ok(Verdict::Fine)
    }

    fn options(&self) -> Options {
        Options {
            pairs: self.pairs,
            clients: usize::from(self.clients),
            retention: Duration::from_secs_f64(self.retention),
            keys: self.keys,
            agents: self.agents,
            seed: self.seed,
        }
    }
}

fn describe(run: &Endurance) -> String {
    let company =
        if run.idle_transaction { "beside a transaction that is left idle" } else { "alone" };
    let speeds: Vec<_> = run.pairs_per_second.iter().map(|speed| format!("{speed:.0}")).collect();
    let hot: Vec<_> = run
        .hot_share
        .iter()
        .map(|(table, share)| format!("{table} {:.1} %", share * 100.0))
        .collect();
    format!(
        "{company}: {} pairs with {} clients in {:.0} s, {} errors\n\
         pairs per second of each tenth: {}\n\
         last tenth to first: {:.2}\n\
         updates in place: {}\n\
         forgotten after {} s: {}\n\
         goals: {}\n\n{}",
        run.pairs,
        run.clients,
        run.seconds,
        run.errors,
        speeds.join(" "),
        run.ratio,
        hot.join(", "),
        run.retention_seconds,
        run.pruned,
        goals(run),
        relations(run),
    )
}

fn goals(run: &Endurance) -> String {
    let missed = run.missed.iter().map(|goal| format!("MISSED: {goal}"));
    let unsettled = "not judged: sizes, since the first tenth was over before autovacuum came \
                     (autovacuum_naptime); more pairs would do";
    let unsettled = (!run.sizes_settled).then(|| unsettled.to_owned());
    let remarks: Vec<_> = missed.chain(unsettled).collect();
    if remarks.is_empty() {
        return "all reached".to_owned();
    }
    remarks.join("; ")
}

fn relations(run: &Endurance) -> String {
    let kib = |bytes: i64| format!("{} KiB", bytes / 1024);
    let rows = run.relations.iter().filter(|relation| relation.end_bytes > 0).map(|relation| {
        [
            relation.relation.clone(),
            kib(relation.first_tenth_bytes),
            kib(relation.end_bytes),
            format!("{:.2}", relation.factor),
            if relation.remembers { "the retention" } else { "" }.to_owned(),
        ]
    });
    output::table(["relation", "first tenth", "end", "growth", "bounded by"], rows)
}
