//! `occupancy bench soak`: whether anything creeps in a long run.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Place, conditions, seconds};
use crate::bench::Conditions;
use crate::bench::soak::{Endurance, Goals, Options, run};
use crate::cli::{Global, Verdict, output};
use crate::error::Result;
use crate::workload::progress::Progress;

/// Reserves and releases for long, first alone, then beside a transaction that is left idle.
///
/// Ended sessions are forgotten meanwhile, once they are older than the retention. Compares the last
/// tenth with the first: speed, and the size of every table and index. Says which goals were missed:
/// 0.9 of the speed, 3 times the size of all but the remembered sessions, 95 % of the updates of
/// keys and agents in place. Says also what a run was too short to judge.
///
/// Beside an idle transaction PostgreSQL cannot remove what was replaced, and everything gets slower
/// and slower; the second run stops when its time is up, and tells how far it got. Each run is
/// reported as soon as it is done: the first one also if the second is interrupted.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: occupancy bench soak --pairs 100000 --retention 2 --idle-minutes 5"
)]
pub(super) struct Soak {
    /// Sessions that are reserved and released, in each of the two runs.
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pairs: u64,
    /// How long the run beside an idle transaction goes on at most; 0 leaves it out.
    #[arg(long, value_name = "N", default_value_t = 15.0, value_parser = minutes,
          allow_negative_numbers = true)]
    idle_minutes: f64,
    /// How many clients work at once.
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How many seconds an ended session is remembered: much less than the first tenth takes, or that
    /// is not like the others. An operator would rather keep it 24 hours.
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
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

fn minutes(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes == 0.0 || (0.01..=10_000.0).contains(&minutes) => Ok(minutes),
        _ => Err("0 or a number of minutes from 0.01 to 10000 is needed".to_owned()),
    }
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
        let mut conditions = Some(conditions(&server));
        run(databases, &self.options(), &progress, |endurance| {
            if global.json {
                return output::json(&Line { scenario: "soak", endurance, server: &server });
            }
            if let Some(conditions) = conditions.take() {
                output::line(format_args!("\n{conditions}"))?;
            }
            output::line(format_args!("\n{}", describe(endurance)))
        })
        .await
        .map(|()| Verdict::Fine)
    }

    fn options(&self) -> Options {
        Options {
            pairs: self.pairs,
            idle_limit: (self.idle_minutes > 0.0)
                .then(|| Duration::from_secs_f64(self.idle_minutes * 60.0)),
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
        "{company}: {} of {} pairs with {} client{} in {:.0} s{}, {} errors\n\
         pairs per second of each tenth{}: {}\n\
         last tenth to first: {}\n\
         updates in place: {}\n\
         forgotten after {} s: {}\n\
         goals: {}\n\n{}",
        run.pairs,
        run.pairs_planned,
        run.clients,
        if run.clients == 1 { "" } else { "s" },
        run.seconds,
        if run.complete { "" } else { ", when the time was up (--idle-minutes)" },
        run.errors,
        if run.complete { "" } else { " of these" },
        if speeds.is_empty() { "-".to_owned() } else { speeds.join(" ") },
        output::or_dash(run.ratio.map(|ratio| format!("{ratio:.2}"))),
        if hot.is_empty() { "-".to_owned() } else { hot.join(", ") },
        run.retention_seconds,
        run.pruned,
        goals(&run.goals),
        relations(run),
    )
}

fn goals(goals: &Goals) -> String {
    if goals.all_reached {
        return "all reached".to_owned();
    }
    let missed = goals.missed.iter().map(|goal| format!("MISSED: {goal}"));
    let not_judged = goals.not_judged.iter().map(|what| format!("not judged: {what}"));
    missed.chain(not_judged).collect::<Vec<_>>().join("\n       ")
}

fn relations(run: &Endurance) -> String {
    let kib = |bytes: i64| format!("{} KiB", bytes / 1024);
    let rows = run.relations.iter().filter(|relation| relation.end_bytes > 0).map(|relation| {
        [
            relation.relation.clone(),
            kib(relation.first_tenth_bytes),
            kib(relation.end_bytes),
            output::or_dash(relation.factor.map(|factor| format!("{factor:.2}"))),
            if relation.remembers { "the retention" } else { "" }.to_owned(),
        ]
    });
    output::table(["relation", "first tenth", "end", "growth", "bounded by"], rows)
}
