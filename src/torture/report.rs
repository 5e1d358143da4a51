//! What came of a run.

use serde::Serialize;

use super::history::Violation;

/// The outcome of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// What the server was.
    pub(crate) server: String,
    pub(crate) managers: usize,
    pub(crate) seconds: f64,
    pub(crate) calls: u64,
    pub(crate) answers: u64,
    pub(crate) lost_answers: u64,
    pub(crate) sessions: usize,
    /// Of which so many were taken from managers that had died or were silent.
    pub(crate) reclaimed: usize,
    /// Snapshots in which every number was held against its limit.
    pub(crate) samples: u64,
    /// How often everything was checked.
    pub(crate) checks: u64,
    pub(crate) faults: Vec<Line>,
    pub(crate) violations: Vec<Violation>,
}

/// One fault.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) fault: &'static str,
    pub(crate) struck: u32,
    /// Calls that were under way when it struck, all strikes together.
    pub(crate) calls_in_flight: usize,
    /// Calls that got no answer from then on until everybody worked again.
    pub(crate) lost_answers: u64,
    pub(crate) violations: usize,
    /// Why it was not struck.
    pub(crate) obstacle: Option<String>,
}

impl Report {
    /// Whether nothing happened that must not.
    pub(crate) fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }
}
