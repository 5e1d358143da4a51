//! Reads the database from aside while managers work on it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::error::{Error, Result};
use crate::handles::Handles;
use crate::model::{AgentOccupancy, KeyConcurrency, QuotaUse};
use crate::slots::ResourceSlots;
use crate::workload::amount;
use crate::workload::progress::Progress;
use crate::workload::summary::{QuotaPeak, SlotPeak};
use crate::workload::tally::Tally;

const SAMPLE_EVERY: Duration = Duration::from_millis(100);
const AUDIT_EVERY: Duration = Duration::from_secs(1);

/// How far the work is, in the unit that the progress was started with.
type Position = Box<dyn Fn() -> u64 + Send>;

/// Peaks, and every number that was above its limit.
pub(crate) struct Watch {
    handles: Handles,
    position: Option<Position>,
    /// Units of occupied and available slots of all agents, by slot.
    slots: BTreeMap<String, (i128, i128)>,
    quotas: BTreeMap<(String, String), QuotaPeak>,
    pub(super) peak_sessions: i64,
    pub(super) samples: u64,
    pub(super) audits: u64,
    pub(crate) broken: Vec<String>,
}

impl Watch {
    pub(crate) fn new(handles: Handles) -> Self {
        Self {
            handles,
            position: None,
            slots: BTreeMap::new(),
            quotas: BTreeMap::new(),
            peak_sessions: 0,
            samples: 0,
            audits: 0,
            broken: Vec::new(),
        }
    }

    /// Tells how far the work is.
    pub(super) fn follow(&mut self, position: impl Fn() -> u64 + Send + 'static) {
        self.position = Some(Box::new(position));
    }

    /// Watches and shows progress until it is dropped or fails.
    pub(super) async fn run(&mut self, tally: &Tally, progress: &Progress) -> Error {
        let started = Instant::now();
        let mut tick = interval(SAMPLE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_audit = started;
        loop {
            tick.tick().await;
            if let Err(error) = self.look().await {
                return error;
            }
            if last_audit.elapsed() >= AUDIT_EVERY {
                last_audit = Instant::now();
                if let Err(error) = self.audit().await {
                    return error;
                }
            }
            let position = self.position.as_ref().map_or(0, |position| position());
            progress.update(position, line(tally, started));
        }
    }

    /// Takes a sample.
    pub(crate) async fn look(&mut self) -> Result<()> {
        self.samples += 1;
        let agents = self.handles.agents().agent_occupancy().await?;
        self.see_agents(&agents);
        let keys = self.handles.tracker().concurrency().await?;
        self.see_keys(&keys);
        let quotas = self.handles.tracker().quotas().await?;
        self.see_quotas(&quotas);
        Ok(())
    }

    /// Has the database prove its numbers.
    pub(crate) async fn audit(&mut self) -> Result<()> {
        self.audits += 1;
        let findings = self.handles.tracker().audit().await?;
        self.broken.extend(findings.into_iter().map(|finding| {
            let [expected, actual] =
                [finding.expected, finding.actual].map(Option::unwrap_or_default);
            format!("{} {}: {actual} instead of {expected}", finding.invariant, finding.subject)
        }));
        Ok(())
    }

    fn see_agents(&mut self, agents: &[AgentOccupancy]) {
        let mut sums: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
        for agent in agents {
            let subject = format!("agent {}", agent.agent_id);
            self.compare(&subject, &agent.occupied_slots, &agent.available_slots, true);
            for (slot, amount) in agent.occupied_slots.iter() {
                sums.entry(slot).or_default().0 += amount::parse(amount).unwrap_or_default();
            }
            for (slot, amount) in agent.available_slots.iter() {
                sums.entry(slot).or_default().1 += amount::parse(amount).unwrap_or_default();
            }
        }
        for (slot, (occupied, available)) in sums {
            let peak = self.slots.entry(slot.to_owned()).or_default();
            *peak = (peak.0.max(occupied), available);
        }
    }

    fn see_keys(&mut self, keys: &[KeyConcurrency]) {
        let sessions = keys.iter().map(|key| key.compute_used + key.system_used).sum();
        self.peak_sessions = self.peak_sessions.max(sessions);
        for key in keys {
            let subject = format!("key {}", key.access_key);
            self.count(&subject, key.compute_used, key.compute_max);
            self.count(&subject, key.system_used, key.system_max);
            if let Some(total) = &key.total_resource_slots {
                self.compare(&subject, &key.occupied_slots, total, false);
            }
        }
    }

    fn see_quotas(&mut self, quotas: &[QuotaUse]) {
        for quota in quotas {
            let subject = format!("{} {}", quota.scope, quota.scope_id);
            self.count(&subject, quota.used, quota.max_concurrent_sessions);
            if let Some(total) = &quota.total_resource_slots {
                self.compare(&subject, &quota.occupied_slots, total, false);
            }
            let name = (quota.scope.to_string(), quota.scope_id.clone());
            self.quotas.entry(name).or_default().see(quota);
        }
    }

    fn count(&mut self, subject: &str, used: i64, max: Option<i64>) {
        if let Some(max) = max.filter(|max| used > *max) {
            self.broken.push(format!("{subject} ran {used} of at most {max} sessions"));
        }
    }

    /// Slots beside a limit of them; one that the limit does not name is 0 or not limited.
    fn compare(&mut self, subject: &str, used: &ResourceSlots, max: &ResourceSlots, all: bool) {
        for (slot, amount) in used.iter() {
            let limit = match max.get(slot) {
                Some(limit) => amount::parse(limit),
                None => all.then_some(0),
            };
            if limit.is_some_and(|limit| amount::parse(amount).is_none_or(|used| used > limit)) {
                self.broken.push(format!("{subject} occupied {amount} {slot}, more than it may"));
            }
        }
    }

    pub(super) fn slot_peaks(&self) -> Vec<SlotPeak> {
        self.slots.iter().map(|(slot, (peak, of))| SlotPeak::new(slot, *peak, *of)).collect()
    }

    pub(super) fn quota_peaks(&self) -> Vec<QuotaPeak> {
        self.quotas.values().cloned().collect()
    }
}

fn line(tally: &Tally, started: Instant) -> String {
    let counts = tally.counts();
    let rate = rate(counts.calls, started.elapsed());
    let (admitted, rejected) = (counts.admitted, counts.rejections());
    format!("{admitted} admitted, {rejected} rejected, {rate:.0} calls/s")
}

/// Events per second.
pub(super) fn rate(events: u64, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no run makes 2^52 calls")]
    let events = events as f64;
    events / elapsed.as_secs_f64().max(0.001)
}
