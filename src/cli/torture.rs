//! `occupancy torture`: everything that can break, breaks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::cli::interruption::Interruption;
use crate::cli::{Verdict, output};
use crate::error::{Error, ErrorKind, Result};
use crate::torture::report::Report;
use crate::torture::{self, Options, Scene, manager, named, names};
use crate::workload::progress::Progress;

/// Proves what is promised while processes, servers, connections, clocks and disks fail.
///
/// Starts servers of its own and several manager processes, strikes one fault after the other, and
/// holds every answer against the database and against each other. Needs the binaries of PostgreSQL;
/// the full disk needs root, and the wrong clock libfaketime. Leaves nothing behind but, if
/// something was wrong, the history.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy torture --minutes 20 --seed 7")]
pub(super) struct Torture {
    /// How long, unless it is done earlier.
    #[arg(long, value_name = "N", default_value_t = 15.0, value_parser = minutes)]
    minutes: f64,
    /// Be done when each fault struck so often, costly ones a quarter of it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    strikes: Option<u32>,
    /// What happens follows from this number, as far as it can.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many manager processes work.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=6))]
    managers: u16,
    /// Only these faults.
    #[arg(long, value_name = "FAULT", value_delimiter = ',', value_parser = fault)]
    faults: Vec<&'static str>,
    /// Keep the history of all calls here.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

/// A manager process of `torture`. Not for people.
#[derive(Debug, Args)]
pub(super) struct TortureManager {}

/// Calls that each manager has under way at once.
const WORKERS: usize = 3;

fn minutes(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.01..=10_000.0).contains(&minutes) => Ok(minutes),
        _ => Err("a number of minutes from 0.01 to 10000 is needed".to_owned()),
    }
}

fn fault(text: &str) -> std::result::Result<&'static str, String> {
    named(text).ok_or_else(|| {
        let known: Vec<_> = names().collect();
        format!("there are {}", known.join(", "))
    })
}

impl TortureManager {
    pub(super) async fn run(self) -> Result<Verdict> {
        manager::run().await.map(|()| Verdict::Fine)
    }
}

impl Torture {
    pub(super) async fn run(self, json: bool, interruption: Interruption) -> Result<Verdict> {
        let progress = Progress::new();
        let draft = tempfile::Builder::new()
            .prefix("occupancy-torture-")
            .suffix(".jsonl")
            .tempfile()
            .map_err(|e| Error::new(ErrorKind::Io, "cannot write a history").caused_by(e))?;
        let options = self.options(draft.path());
        let mut scene = Scene::default();
        let report = match Box::pin(scene.open(&options, &progress)).await {
            Ok(()) => {
                let run = Box::pin(torture::run(&mut scene, &options, &progress));
                interruption.interrupts(run).await
            }
            Err(error) => Err(error),
        };
        // Whatever came of it.
        let closed = Box::pin(scene.close()).await;
        let report = report?;
        closed?;
        match report {
            Ok(report) => self.tell(&report, draft, json),
            Err(signal) => Ok(Verdict::Interrupted(signal)),
        }
    }

    fn options(&self, draft: &Path) -> Options {
        Options {
            duration: Duration::from_secs_f64(self.minutes * 60.0),
            strikes: self.strikes,
            seed: self.seed,
            managers: usize::from(self.managers),
            workers: WORKERS,
            faults: self.faults.clone(),
            history: self.history.clone().unwrap_or_else(|| draft.to_owned()),
        }
    }

    /// The history stays if somebody wants it, or should.
    fn tell(self, report: &Report, draft: NamedTempFile, json: bool) -> Result<Verdict> {
        let kept = match self.history {
            Some(path) => Some(path),
            None if report.is_sound() => None,
            None => draft.keep().ok().map(|(_, path)| path),
        };
        if json {
            output::json(&json!({ "report": report, "history": kept }))?;
        } else {
            output::line(describe(report))?;
            if let Some(path) = kept {
                output::line(format_args!("history: {}", path.display()))?;
            }
        }
        Ok(Verdict::unsound_if(!report.is_sound()))
    }
}

fn describe(report: &Report) -> String {
    let header = ["fault", "struck", "calls in flight", "lost answers", "violations", "note"];
    let rows = report.faults.iter().map(|line| {
        let note = line.obstacle.as_ref().map(|why| format!("not struck: {why}"));
        [
            line.fault.to_owned(),
            line.struck.to_string(),
            line.calls_in_flight.to_string(),
            line.lost_answers.to_string(),
            line.violations.to_string(),
            note.unwrap_or_default(),
        ]
    });
    let mut lines = vec![format!(
        "\n{}, seed {}\n{} managers, {:.0} s: {} calls, {} answers, {} lost\n{} sessions, {} reclaimed\n\
         {} snapshots and {} checks\n\n{}\n",
        report.server,
        report.seed,
        report.managers,
        report.seconds,
        report.calls,
        report.answers,
        report.lost_answers,
        report.sessions,
        report.reclaimed,
        report.samples,
        report.checks,
        output::table(header, rows),
    )];
    lines.extend(report.violations.iter().map(|violation| {
        let place = violation.history_line.map(|line| format!(" (history, line {line})"));
        format!("violation: {}{}", violation.what, place.unwrap_or_default())
    }));
    lines.push(format!("{} violations", report.violations.len()));
    lines.join("\n")
}
