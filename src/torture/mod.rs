//! Faults: manager processes at work while one thing after the other breaks.
//!
//! Several processes of this program reserve and end sessions under tight limits, on servers of the
//! run's own. Every call is written down before it is sent, and every answer when it arrives. At
//! random moments a fault strikes; when all managers work again, everything is checked: the history
//! against itself (`model`), against the database (`ledger`), the database against itself (`audit`,
//! and the numbers that a `sampler` sees all the time).
//!
//! | module | concern |
//! |---|---|
//! | `ground` | all that a run consists of, and what faults and checks do with it |
//! | `place` | the keys, agents and limits that managers fight for |
//! | `manager`, `crew` | a manager process, from its inside and from its outside |
//! | `call`, `history` | calls and answers: written down, put together by session |
//! | `model`, `ledger` | what must be true of the history, alone and beside the database |
//! | `silence` | when managers could not be heard, so that they may have lost what they held |
//! | `cluster`, `proxy`, `disk`, `faketime` | servers, lines, disks and clocks that can be broken |
//! | `faults` | what breaks, a file each |

mod call;
mod cluster;
mod crew;
mod disk;
mod faketime;
mod faults;
mod ground;
mod history;
mod ledger;
pub(crate) mod manager;
mod model;
mod place;
mod proxy;
pub(crate) mod report;
mod sampler;
mod silence;
mod wait;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::RngExt;

use self::call::now;
use self::faults::Fault;
pub(crate) use self::faults::{named, names};
use self::ground::Ground;
use self::history::Violation;
use self::report::{Line, Report};
use crate::error::{Error, Result};
use crate::workload::progress::Progress;

/// The subcommand that makes this program a manager. Not for people.
pub(crate) const MANAGER_SUBCOMMAND: &str = "torture-manager";

/// How long a manager may be silent until what it has not confirmed is suspect.
const TTL: Duration = Duration::from_secs(2);
/// How much longer until that is freed.
const GRACE: Duration = Duration::from_secs(2);
/// How long a process is frozen: longer than anybody waits for it.
const FREEZE: Duration = Duration::from_secs(5);
/// The longest time in which nothing happens before a fault, in milliseconds.
const CALM_MS: u64 = 600;

/// What a run is to be.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) duration: Duration,
    /// End earlier, when each fault struck so often; costly ones a quarter of it.
    pub(crate) strikes: Option<u32>,
    pub(crate) seed: u64,
    pub(crate) managers: usize,
    /// Calls that a manager has under way at once.
    pub(crate) workers: usize,
    /// Only these.
    pub(crate) faults: Vec<&'static str>,
    pub(crate) history: PathBuf,
}

/// The servers and processes of a run; to be closed, however the run ends.
#[derive(Default)]
pub(crate) struct Scene(Option<Ground>);

impl Scene {
    /// Starts everything. Not to be interrupted: half a server is hard to stop.
    pub(crate) async fn open(&mut self, options: &Options, progress: &Progress) -> Result<()> {
        let ground = self.0.insert(Ground::open(options, progress).await?);
        ground.populate(options, progress).await
    }

    pub(crate) async fn close(self) -> Result<()> {
        match self.0 {
            Some(ground) => ground.close().await,
            None => Ok(()),
        }
    }
}

/// Runs until the time is over, the faults have struck often enough, or something is wrong.
pub(crate) async fn run(
    scene: &mut Scene,
    options: &Options,
    progress: &Progress,
) -> Result<Report> {
    let Some(ground) = &mut scene.0 else { return Ok(Report::default()) };
    let mut run = Run::new(options, ground);
    progress.start(run.goal());
    run.strike_until_done(ground, progress).await;
    progress.finish();
    if run.report.is_sound() {
        progress.say("ending the work");
        let ended = ground.finish().await;
        run.judge("the end", ended);
    }
    let Run { mut report, started, .. } = run;
    report.seconds = started.elapsed().as_secs_f64();
    report.calls = ground.history.calls;
    report.answers = ground.history.answers;
    report.lost_answers = ground.history.lost;
    report.sessions = ground.history.stories().count();
    report.reclaimed = ground.history.stories().filter(|(_, story)| story.reclaimed).count();
    report.samples = ground.samples();
    Ok(report)
}

struct Run<'a> {
    options: &'a Options,
    faults: Vec<&'static dyn Fault>,
    started: Instant,
    report: Report,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, ground: &Ground) -> Self {
        let wanted = |fault: &&'static dyn Fault| {
            options.faults.is_empty() || options.faults.contains(&fault.name())
        };
        let faults: Vec<_> = faults::ALL.into_iter().filter(wanted).collect();
        let line = |fault: &&'static dyn Fault| Line {
            fault: fault.name(),
            obstacle: fault.obstacle(ground),
            ..Line::default()
        };
        let report = Report {
            seed: options.seed,
            server: ground.cluster.describe(),
            managers: options.managers,
            faults: faults.iter().map(line).collect(),
            ..Report::default()
        };
        Self { options, faults, started: Instant::now(), report }
    }

    /// The time in seconds.
    fn goal(&self) -> u64 {
        self.options.duration.as_secs()
    }

    async fn strike_until_done(&mut self, ground: &mut Ground, progress: &Progress) {
        while self.started.elapsed() < self.options.duration && self.report.is_sound() {
            let Some(next) = self.next(ground) else { return };
            let calm = Duration::from_millis(ground.rng.random_range(0..=CALM_MS));
            ground.listen_for(calm).await;
            let outcome = self.strike(ground, next).await.map_err(|error| {
                let told = error.detail_text().map(|it| format!("{it}\n")).unwrap_or_default();
                error.detail(told + &ground.cluster.last_words())
            });
            self.report.faults[next].violations += self.judge(self.faults[next].name(), outcome);
            let strikes: u32 = self.report.faults.iter().map(|line| line.struck).sum();
            progress.update(
                self.started.elapsed().as_secs(),
                format!(
                    "{strikes} faults, {} calls, {} answers lost, {} violations",
                    ground.history.calls,
                    ground.history.lost,
                    self.report.violations.len()
                ),
            );
        }
    }

    /// One of those that are furthest from having struck often enough; none when all have.
    fn next(&self, ground: &mut Ground) -> Option<usize> {
        let behind = |i: &usize| {
            let (fault, line) = (self.faults[*i], &self.report.faults[*i]);
            // In twentieths of what is wanted, so that the costly ones are due less often.
            line.struck * 20 / fault.worth()
        };
        let able = |i: &usize| {
            let (fault, line) = (self.faults[*i], &self.report.faults[*i]);
            let enough = |strikes: u32| line.struck >= (strikes * fault.worth()).div_ceil(20);
            line.obstacle.is_none() && !self.options.strikes.is_some_and(enough)
        };
        let candidates: Vec<_> = (0..self.faults.len()).filter(able).collect();
        let least = candidates.iter().map(behind).min()?;
        let due: Vec<_> = candidates.into_iter().filter(|i| behind(i) <= least).collect();
        Some(due[ground.rng.random_range(0..due.len())])
    }

    /// One fault, the recovery from it, and the check.
    async fn strike(&mut self, ground: &mut Ground, index: usize) -> Result<Vec<Violation>> {
        let lost_before = ground.history.lost;
        let struck = self.faults[index].strike(ground).await?;
        ground.recovered(now()).await?;
        ground.silence.end();
        let violations = ground.check().await?;
        self.report.checks += 1;
        if struck {
            let line = &mut self.report.faults[index];
            line.struck += 1;
            line.calls_in_flight += ground.in_flight;
            line.lost_answers += ground.history.lost - lost_before;
        }
        Ok(violations)
    }

    /// Puts down what was found. That something did not work at all is a finding too.
    fn judge(&mut self, occasion: &str, outcome: Result<Vec<Violation>>) -> usize {
        let found = outcome.unwrap_or_else(|error| vec![Violation::somewhere(describe(&error))]);
        let count = found.len();
        self.report.violations.extend(found.into_iter().map(|violation| Violation {
            what: format!("{occasion}: {}", violation.what),
            ..violation
        }));
        count
    }
}

fn describe(error: &Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    let text = causes.join(": ");
    match error.detail_text() {
        Some(detail) => format!("{text}\n{detail}"),
        None => text,
    }
}
