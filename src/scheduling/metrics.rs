//! What a scheduler has done, in numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::hooks::TickReport;
use super::model::QueueState;

/// What a scheduler has seen and done so far, for the dashboards of the process that embeds it.
/// Unless it says otherwise, a number only grows.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SchedulerMetrics {
    /// How many sessions waited when it last counted, which it does after ticks, at most once a
    /// second; `None` before the first time. Goes up and down.
    pub queue_length: Option<i64>,
    /// How long the oldest of them had waited then; zero where none did. Goes up and down.
    pub oldest: Option<Duration>,
    /// Ticks that were answered.
    pub ticks: u64,
    /// Ticks that were none, since another manager's tick of the group was under way.
    pub ticks_busy: u64,
    /// Ticks that failed.
    pub ticks_failed: u64,
    /// All of these, by what they came of.
    pub causes: BTreeMap<&'static str, u64>,
    /// Sessions that ticks looked at, by what became of them: `placed`, or the code of the first
    /// thing that was in the way. One that waits for ten ticks counts ten times.
    pub outcomes: BTreeMap<String, u64>,
    /// How long the last answered tick took, as this process saw it. Goes up and down.
    pub last_tick: Duration,
    /// How long the longest one took.
    pub longest_tick: Duration,
    /// How long all of them took together.
    pub tick_time: Duration,
    /// Hooks that panicked.
    pub hooks_panicked: u64,
}

/// The numbers as the loop writes them and others read them.
#[derive(Debug, Default)]
pub(super) struct Books(Mutex<SchedulerMetrics>);

impl Books {
    pub(super) fn snapshot(&self) -> SchedulerMetrics {
        self.open().clone()
    }

    pub(super) fn ticked(&self, report: &TickReport) {
        let mut books = self.open();
        *books.causes.entry(report.cause.as_str()).or_default() += 1;
        let Ok(sessions) = &report.result else {
            books.ticks_failed += 1;
            return;
        };
        if report.busy {
            books.ticks_busy += 1;
            return;
        }
        let took = report.took;
        books.ticks += 1;
        books.last_tick = took;
        books.longest_tick = books.longest_tick.max(took);
        books.tick_time += took;
        for session in sessions {
            let code = session.code.as_ref().filter(|_| !session.is_placed());
            let outcome = code.map_or(session.outcome.as_str(), |code| code.as_str());
            if let Some(count) = books.outcomes.get_mut(outcome) {
                *count += 1;
            } else {
                books.outcomes.insert(outcome.to_owned(), 1);
            }
        }
    }

    pub(super) fn counted(&self, state: Option<&QueueState>) {
        let mut books = self.open();
        books.queue_length = Some(state.map_or(0, |state| state.sessions));
        let oldest = state.map_or(0.0, |state| state.oldest_seconds);
        books.oldest = Some(Duration::try_from_secs_f64(oldest).unwrap_or_default());
    }

    pub(super) fn hook_panicked(&self) {
        self.open().hooks_panicked += 1;
    }

    /// Nobody panics while he has them open.
    fn open(&self) -> MutexGuard<'_, SchedulerMetrics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
