//! What the database answered to the managers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::model::{Admission, AdmissionOutcome, RejectionCode, SessionType};
use crate::workload::summary::Latency;

/// Counts answers; shared by all managers.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Calls of every kind.
    pub(super) calls: u64,
    pub(super) admitted: u64,
    pub(super) already_admitted: u64,
    pub(super) rejected: BTreeMap<String, u64>,
    /// Rejections of one agent after which another one was tried.
    pub(super) moved_on: u64,
    /// Reservations that two managers sent at the same moment.
    pub(super) duplicates: u64,
    /// By access key.
    pub(super) keys: BTreeMap<String, KeyCounts>,
    /// Answers that contradict a limit.
    pub(super) broken: Vec<String>,
    latencies: BTreeMap<&'static str, Latencies>,
}

/// What was seen of a key.
#[derive(Debug, Default)]
pub(super) struct KeyCounts {
    /// The most sessions of a class that an admission reported: exact, since the database counts
    /// under the key's lock.
    pub(super) peak: i64,
    pub(super) max: Option<i64>,
    /// Rejections for the key's limit.
    pub(super) rejected: u64,
}

/// Microseconds.
#[derive(Debug)]
struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(3_600_000_000, 3).expect("these bounds are valid"))
    }
}

impl Tally {
    /// The counts as they are now.
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a call was answered.
    pub(super) fn called(&self, call: &'static str, took: Duration) {
        let mut counts = self.counts();
        counts.calls += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counts.latencies.entry(call).or_default().0.saturating_record(micros);
    }

    /// Records the last word on a session.
    pub(super) fn settle(&self, admission: &Admission) {
        let mut counts = self.counts();
        match admission.outcome {
            AdmissionOutcome::Admitted => counts.admitted += 1,
            AdmissionOutcome::AlreadyAdmitted => counts.already_admitted += 1,
            _ => {
                let code = admission.code.as_ref().map_or("unknown", RejectionCode::as_str);
                *counts.rejected.entry(code.to_owned()).or_default() += 1;
            }
        }
    }

    /// Records how many sessions a tick placed.
    pub(super) fn placed(&self, sessions: usize) {
        self.counts().admitted += sessions as u64;
    }

    /// Holds the key's count in an answer against its limit.
    pub(super) fn note_key(&self, session_type: &SessionType, admission: &Admission) {
        let (Some(key), Some(used)) = (&admission.access_key, admission.used) else { return };
        if *session_type == SessionType::System {
            return;
        }
        let mut counts = self.counts();
        let of_key = counts.keys.entry(key.clone()).or_default();
        of_key.max = admission.max;
        of_key.peak = of_key.peak.max(used);
        of_key.rejected += u64::from(admission.code == Some(RejectionCode::ConcurrencyLimit));
        if admission.max.is_some_and(|max| used > max) {
            counts.broken.push(format!("key {key} ran {used} of at most {:?}", admission.max));
        }
    }

    /// Records that another agent is tried.
    pub(super) fn move_on(&self) {
        self.counts().moved_on += 1;
    }

    /// Records a reservation that two managers sent at once, of which one at most may be admitted.
    pub(super) fn raced(&self, answers: [&Admission; 2]) {
        let admitted =
            answers.iter().filter(|answer| answer.outcome == AdmissionOutcome::Admitted).count();
        let mut counts = self.counts();
        counts.duplicates += 1;
        if admitted > 1 {
            let id = answers[0].session_id.unwrap_or_default();
            counts.broken.push(format!("session {id} was admitted twice"));
        }
    }
}

impl Counts {
    pub(super) fn rejections(&self) -> u64 {
        self.rejected.values().sum()
    }

    pub(super) fn latencies(&self) -> Vec<Latency> {
        let of = |(call, times): (&&'static str, &Latencies)| Latency {
            call,
            count: times.0.len(),
            p50_us: times.0.value_at_quantile(0.5),
            p99_us: times.0.value_at_quantile(0.99),
            max_us: times.0.max(),
        };
        self.latencies.iter().map(of).collect()
    }
}
