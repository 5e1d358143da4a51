//! What is reported of a workload when it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::model::QuotaUse;
use crate::workload::watch::rate;
use crate::workload::{Crew, amount};

/// The outcome of a workload.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) managers: usize,
    /// How long the managers worked.
    pub(crate) seconds: f64,
    /// Calls of every kind.
    pub(crate) calls: u64,
    pub(crate) calls_per_second: f64,
    /// Sessions.
    pub(crate) admitted: u64,
    /// Answers to repeated reservations.
    pub(crate) already_admitted: u64,
    /// Sessions by the code of their rejection.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Rejections by one agent after which another one was tried.
    pub(crate) moved_on: u64,
    /// Reservations that two managers sent at once.
    pub(crate) duplicates: u64,
    /// The most sessions seen at once.
    pub(crate) peak_sessions: i64,
    pub(crate) keys: Vec<KeyPeak>,
    pub(crate) quotas: Vec<QuotaPeak>,
    pub(crate) slots: Vec<SlotPeak>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) samples: u64,
    pub(crate) audits: u64,
    /// What was left when all sessions were released; `None` if they were left running.
    pub(crate) end: Option<End>,
    /// Every number that was seen above its limit, and every finding of an audit.
    pub(crate) broken: Vec<String>,
}

/// The state after everything was released.
#[derive(Debug, Serialize)]
pub(crate) struct End {
    /// Sessions that still ran and were released then.
    pub(crate) released: usize,
    pub(crate) agents: usize,
    /// Agents with nothing occupied: must be all.
    pub(crate) empty_agents: usize,
}

/// A key's highest concurrency beside its limit.
#[derive(Debug, Serialize)]
pub(crate) struct KeyPeak {
    pub(crate) access_key: String,
    pub(crate) peak: i64,
    pub(crate) max: Option<i64>,
    /// Sessions that this limit rejected.
    pub(crate) rejected: u64,
}

/// A quota's highest use beside its limits.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct QuotaPeak {
    pub(crate) scope: String,
    pub(crate) scope_id: String,
    pub(crate) peak: i64,
    pub(crate) max: Option<i64>,
    pub(crate) slots: Vec<SlotPeak>,
}

impl QuotaPeak {
    pub(super) fn see(&mut self, quota: &QuotaUse) {
        self.scope = quota.scope.to_string();
        self.scope_id.clone_from(&quota.scope_id);
        self.peak = self.peak.max(quota.used);
        self.max = quota.max_concurrent_sessions;
        let Some(total) = &quota.total_resource_slots else { return };
        let before = std::mem::take(&mut self.slots);
        for (slot, limit) in total.iter() {
            let Some(limit) = amount::parse(limit) else { continue };
            let used = quota.occupied_slots.get(slot).and_then(amount::parse).unwrap_or_default();
            let earlier = before.iter().find(|peak| peak.slot == slot);
            let earlier = earlier.and_then(|peak| amount::parse(&peak.peak)).unwrap_or_default();
            self.slots.push(SlotPeak::new(slot, used.max(earlier), limit));
        }
    }
}

/// A slot's highest occupancy beside what there is of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SlotPeak {
    pub(crate) slot: String,
    /// An exact amount.
    pub(crate) peak: String,
    /// An exact amount.
    pub(crate) available: String,
    pub(crate) percent: f64,
}

impl SlotPeak {
    pub(super) fn new(slot: &str, peak: i128, available: i128) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let percent = peak as f64 * 100.0 / available.max(1) as f64;
        Self {
            slot: slot.to_owned(),
            peak: amount::format(peak),
            available: amount::format(available),
            percent: (percent * 10.0).round() / 10.0,
        }
    }
}

/// How long calls of one kind took, as the manager saw it.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) call: &'static str,
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

impl Summary {
    pub(super) fn of(crew: &Crew, worked: Duration, end: Option<End>) -> Self {
        let Crew { managers, tally, watch } = crew;
        let counts = tally.counts();
        let keys = counts.keys.iter().map(|(key, of_key)| KeyPeak {
            access_key: key.clone(),
            peak: of_key.peak,
            max: of_key.max,
            rejected: of_key.rejected,
        });
        Self {
            managers: managers.len(),
            seconds: (worked.as_secs_f64() * 1000.0).round() / 1000.0,
            calls: counts.calls,
            calls_per_second: rate(counts.calls, worked).round(),
            admitted: counts.admitted,
            already_admitted: counts.already_admitted,
            rejected: counts.rejected.clone(),
            moved_on: counts.moved_on,
            duplicates: counts.duplicates,
            peak_sessions: watch.peak_sessions,
            keys: keys.collect(),
            quotas: watch.quota_peaks(),
            slots: watch.slot_peaks(),
            latencies: counts.latencies(),
            samples: watch.samples,
            audits: watch.audits,
            end,
            broken: counts.broken.iter().chain(&watch.broken).cloned().collect(),
        }
    }
}
