//! Managers that place what waits, tick by tick.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::bench::Protocol;
use crate::bench::calls::queue::{self, Waiting};
use crate::bench::link::Link;
use crate::bench::player::{Slice, ended_early, times};
use crate::config::Config;
use crate::error::Result;
use crate::scheduling::busy_pause;

/// What a team of managers is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Sessions that are placed.
    Session,
    /// Ticks, whatever comes of them.
    Tick,
}

/// Managers of one resource group, who do as a [`Scheduler`](crate::Scheduler) does where another
/// tick is under way: come back a moment later. The clock runs from the first of their ticks until
/// the last session was looked at; it stands still while sessions are enqueued, and while those that
/// were placed are released.
pub(super) struct Managers {
    links: Vec<Link>,
    clerk: Link,
    waiting: Waiting,
    /// A tick looks at no more.
    max_sessions: u32,
    unit: Unit,
    /// Whether those that wait are still there: the ones that do not fit stay.
    filled: bool,
}

/// What one manager did in a round.
#[derive(Default)]
struct Work {
    looked_at: Vec<Uuid>,
    ticks: Vec<Duration>,
    /// When the last of them was answered.
    ended: Option<Instant>,
}

impl Managers {
    pub(super) async fn connect(
        config: &Config,
        protocol: Protocol,
        managers: usize,
        waiting: Waiting,
        max_sessions: u32,
        unit: Unit,
    ) -> Result<Self> {
        let clerk = Link::connect(config, protocol).await?;
        let mut links = Vec::with_capacity(managers);
        for _ in 0..managers {
            links.push(Link::connect(config, protocol).await?);
        }
        Ok(Self { links, clerk, waiting, max_sessions, unit, filled: false })
    }

    /// Goes on for this long, at least once.
    #[expect(clippy::cast_precision_loss, reason = "no slice has 2^52 operations")]
    pub(super) async fn slice(&mut self, length: Duration) -> Result<Slice> {
        let errors = self.errors();
        let (mut operations, mut busy, mut ticks) = (0_usize, Duration::ZERO, times());
        let started = Instant::now();
        while operations == 0 || started.elapsed() < length {
            if !self.filled {
                queue::enqueue(&mut self.clerk, self.waiting).await?;
            }
            let began = Instant::now();
            let works = self.round().await?;
            let ended = works.iter().filter_map(|work| work.ended).max();
            busy += ended.map_or_else(|| began.elapsed(), |ended| ended - began);
            for took in works.iter().flat_map(|work| &work.ticks) {
                ticks.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            operations += match self.unit {
                Unit::Session => works.iter().map(|work| work.looked_at.len()).sum::<usize>(),
                Unit::Tick => works.iter().map(|work| work.ticks.len()).sum(),
            };
            self.filled = !self.waiting.fits;
            if self.waiting.fits {
                let placed: Vec<Uuid> = works.into_iter().flat_map(|work| work.looked_at).collect();
                queue::release(&mut self.clerk, &placed).await?;
            }
        }
        Ok(Slice {
            ops_per_second: operations as f64 / busy.as_secs_f64().max(1e-6),
            p50_us: Some(ticks.value_at_quantile(0.5)),
            p99_us: Some(ticks.value_at_quantile(0.99)),
            errors: self.errors() - errors,
            operations: operations as u64,
            busy: None,
        })
    }

    /// All tick until everything that waited was looked at. If one fails, all stop, and the team is
    /// no more.
    async fn round(&mut self) -> Result<Vec<Work>> {
        let left = Arc::new(AtomicI64::new(i64::from(self.waiting.sessions)));
        let (fits, max_sessions) = (self.waiting.fits, self.max_sessions);
        let mut running: JoinSet<Result<(Link, Work)>> = mem::take(&mut self.links)
            .into_iter()
            .map(|manager| work(manager, Arc::clone(&left), max_sessions, fits))
            .collect();
        let mut works = Vec::new();
        while let Some(ended) = running.join_next().await {
            let (manager, work) = ended.map_err(ended_early)??;
            self.links.push(manager);
            works.push(work);
        }
        Ok(works)
    }

    fn errors(&self) -> u64 {
        self.links.iter().map(|manager| manager.errors).sum()
    }
}

async fn work(
    mut manager: Link,
    left: Arc<AtomicI64>,
    max_sessions: u32,
    fits: bool,
) -> Result<(Link, Work)> {
    let mut work = Work::default();
    while left.load(Ordering::Relaxed) > 0 {
        let began = Instant::now();
        let Some(looked_at) = queue::tick(&mut manager, max_sessions, fits).await? else {
            sleep(busy_pause()).await;
            continue;
        };
        if looked_at.is_empty() {
            continue;
        }
        let ended = Instant::now();
        work.ticks.push(ended - began);
        work.ended = Some(ended);
        // Where none fits, two may look at the same ones: it may well fall below zero.
        let looked = i64::try_from(looked_at.len()).unwrap_or(i64::MAX);
        left.fetch_sub(looked, Ordering::Relaxed);
        work.looked_at.extend(looked_at);
    }
    Ok((manager, work))
}
