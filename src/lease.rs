//! A process as a holder: registered as a manager, and kept alive by a task of its own.
//!
//! Sessions that it reserves belong to it until it confirms them. Should the process die, they are
//! freed by any other one; should it only stall, nothing of it is lost.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::gethostname;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::config::Config;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{Beat, BeatOutcome, Holder};
use crate::pool::Pooled;
use crate::tracker::ConcurrencyTracker;

/// How a process holds what it reserves; see [`Config::with_lease`].
///
/// The defaults suit a manager that confirms a session within seconds of its reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// The manager's name. Default (`None`): the application's name, the host's and a random part,
    /// so that each process is a manager of its own. With a name that outlives the process, a
    /// restart fences what is left of the process before, and may confirm or end what that held.
    pub name: Option<String>,
    /// Silent for so long, its sessions are suspect: 1 s to a day. Default: 30 s. It beats three
    /// times as often.
    pub ttl: Duration,
    /// Silent for so long beyond that, they are free to be reclaimed: up to a day. Default: 30 s.
    pub grace: Duration,
    /// With each beat it reclaims at most so many sessions of managers that died; 0 = leaves that
    /// to others. Default: 1000.
    pub reclaim_per_beat: u32,
    /// With each beat it forgets a bounded number of sessions that ended, and of managers that fell
    /// silent, longer ago than this; `None` = leaves that to others. Default: 24 h.
    pub forget_after: Option<Duration>,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self {
            name: None,
            ttl: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            reclaim_per_beat: 1000,
            forget_after: Some(Duration::from_secs(24 * 60 * 60)),
        }
    }
}

/// How a process stands as a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseState {
    /// It has reserved nothing yet, and so has not been registered.
    Unregistered,
    /// It is registered, and beats in time.
    Held(Holder),
    /// Its last beat is longer ago than its ttl: the database cannot be reached. What it has not
    /// confirmed may be reclaimed; the next beat may still be in time.
    Silent(Holder),
    /// A newer start has its name, or it was silent for so long that it was forgotten. Nothing that
    /// it reserves or ends as this holder is accepted any more: stop what is not confirmed, and
    /// connect anew. The text says who is in its place.
    Fenced(Holder, String),
    /// It was stopped, with [`Lease::stop`] or with its last handle.
    Stopped,
}

/// What the task has done since its start: each number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseCounters {
    /// Beats that were answered.
    pub beats: u64,
    /// Beats that failed, or were not answered in time.
    pub beats_missed: u64,
    /// Beats that were answered after a silence of the ttl or longer.
    pub recoveries: u64,
    /// Sessions of managers that died, freed by this one.
    pub sessions_reclaimed: u64,
    /// Ended sessions that it has forgotten.
    pub sessions_pruned: u64,
    /// Starts of managers that it has forgotten.
    pub managers_pruned: u64,
    /// Reclaims and prunes that failed.
    pub chores_failed: u64,
}

/// This process as a holder; shared by all handles of one [`Handles`](crate::Handles).
///
/// It is registered with the first reservation, so that a process that only reads needs no right
/// to be a manager. From then on a task beats, over a connection of its own, which waits behind no
/// other call, and does its share of reclaiming and pruning. It ends with the last handle.
///
/// ```no_run
/// use occupancy::{Config, Handles, LeaseState, Reservation, ResourceSlots};
/// use uuid::Uuid;
///
/// # async fn start(_: Uuid) {}
/// # async fn example(config: &Config) -> occupancy::Result<()> {
/// let handles = Handles::connect(config).await?;
/// let tracker = handles.tracker();
/// let session_id = Uuid::now_v7();
/// let reservation = Reservation::new(session_id, "AKIA")
///     .with_kernel("i-01", ResourceSlots::new().with("cpu", 4));
/// if tracker.reserve_session(&reservation).await?.is_admitted() {
///     start(session_id).await;
///     tracker.confirm_session(session_id).await?; // from here on it outlives this process
/// }
///
/// let mut states = handles.lease().expect("not switched off").watch();
/// tokio::spawn(async move {
///     if let Ok(state) = states.wait_for(|state| matches!(state, LeaseState::Fenced(..))).await {
///         eprintln!("fenced: {state:?}");
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Lease {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    options: LeaseOptions,
    /// Reclaims and prunes, and registers.
    tracker: ConcurrencyTracker,
    holder: OnceCell<Arc<Holder>>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Dropped, too, it stops the task.
    stop: watch::Sender<bool>,
    books: Arc<Books>,
}

/// What the task writes and the handles read.
struct Books {
    state: watch::Sender<LeaseState>,
    beats: AtomicU64,
    beats_missed: AtomicU64,
    recoveries: AtomicU64,
    sessions_reclaimed: AtomicU64,
    sessions_pruned: AtomicU64,
    managers_pruned: AtomicU64,
    chores_failed: AtomicU64,
}

impl Lease {
    pub(crate) fn new(config: &Config, options: LeaseOptions, pooled: Pooled) -> Self {
        let books = Books {
            state: watch::Sender::new(LeaseState::Unregistered),
            beats: AtomicU64::new(0),
            beats_missed: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            sessions_reclaimed: AtomicU64::new(0),
            sessions_pruned: AtomicU64::new(0),
            managers_pruned: AtomicU64::new(0),
            chores_failed: AtomicU64::new(0),
        };
        let shared = Shared {
            config: config.clone(),
            options,
            tracker: ConcurrencyTracker::new(pooled),
            holder: OnceCell::new(),
            task: Mutex::new(None),
            stop: watch::Sender::new(false),
            books: Arc::new(books),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Registers the process, unless it is registered already, and starts its task.
    ///
    /// # Errors
    /// As every call; [`ErrorKind::Config`] once it was stopped.
    pub async fn register(&self) -> Result<Holder> {
        self.holder().await.map(|holder| (*holder).clone())
    }

    /// The process as a holder, if it is registered.
    #[must_use]
    pub fn registered(&self) -> Option<Holder> {
        self.current().map(|holder| (*holder).clone())
    }

    /// How it stands now.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        self.shared.books.state.borrow().clone()
    }

    /// Every change of how it stands, to wait for.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<LeaseState> {
        self.shared.books.state.subscribe()
    }

    /// What its task has done so far.
    #[must_use]
    pub fn counters(&self) -> LeaseCounters {
        self.shared.books.counters()
    }

    /// Stops the task and waits for its end. What is confirmed stays; what is not is suspect after
    /// the ttl and freed after the grace period, unless it is confirmed or released before.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        if let Some(task) = self.shared.task.lock().await.take() {
            // It does not panic, and nobody else aborts it.
            let _ = task.await;
        }
        self.shared.books.state.send_if_modified(|state| {
            let ended = matches!(state, LeaseState::Fenced(..));
            if !ended {
                *state = LeaseState::Stopped;
            }
            !ended
        });
    }

    pub(crate) fn current(&self) -> Option<Arc<Holder>> {
        self.shared.holder.get().cloned()
    }

    pub(crate) async fn holder(&self) -> Result<Arc<Holder>> {
        if *self.shared.stop.borrow() {
            return Err(Error::new(ErrorKind::Config, "the lease of this process was stopped")
                .hint("connect anew, or reserve without a lease"));
        }
        self.shared.holder.get_or_try_init(|| self.begin()).await.cloned()
    }

    async fn begin(&self) -> Result<Arc<Holder>> {
        let LeaseOptions { name, ttl, grace, .. } = &self.shared.options;
        let name = name.clone().unwrap_or_else(|| self.shared.config.process_name());
        let holder =
            Arc::new(self.shared.tracker.register_manager(&name, *ttl, Some(*grace)).await?);
        let books = Arc::clone(&self.shared.books);
        books.state.send_replace(LeaseState::Held((*holder).clone()));
        let keeper = Keeper {
            heart: Heart { config: self.shared.config.clone(), client: None },
            holder: (*holder).clone(),
            options: self.shared.options.clone(),
            tracker: self.shared.tracker.clone(),
            books,
        };
        let span = info_span!("occupancy lease", manager = holder.manager, epoch = holder.epoch);
        let task = tokio::spawn(keeper.run(self.shared.stop.subscribe()).instrument(span));
        *self.shared.task.lock().await = Some(task);
        Ok(holder)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("state", &self.state())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl Books {
    fn counters(&self) -> LeaseCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LeaseCounters {
            beats: read(&self.beats),
            beats_missed: read(&self.beats_missed),
            recoveries: read(&self.recoveries),
            sessions_reclaimed: read(&self.sessions_reclaimed),
            sessions_pruned: read(&self.sessions_pruned),
            managers_pruned: read(&self.managers_pruned),
            chores_failed: read(&self.chores_failed),
        }
    }

    fn enter(&self, state: LeaseState) {
        self.state.send_if_modified(|present| {
            let changes = *present != state;
            *present = state;
            changes
        });
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// The task: it owns nothing that the handles own, so that it does not keep them alive.
struct Keeper {
    heart: Heart,
    holder: Holder,
    options: LeaseOptions,
    tracker: ConcurrencyTracker,
    books: Arc<Books>,
}

impl Keeper {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self { heart, holder, options, tracker, books } = self;
        // Chores may have to wait for a connection or a lock; a beat must not wait for them.
        let mut work = pin!(async {
            tokio::select! {
                () = beat(heart, &holder, options.ttl, &books) => {}
                () = chores(&tracker, &options, &books) => {}
            }
        });
        tokio::select! {
            () = &mut work => {}
            _ = stop.wait_for(|stopped| *stopped) => {
                books.enter(LeaseState::Stopped);
                debug!("the lease ends");
            }
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Beats until it is fenced.
async fn beat(mut heart: Heart, holder: &Holder, ttl: Duration, books: &Books) {
    let mut ticks = every(ttl / 3);
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        let sent = Instant::now();
        let answer = match timeout(ttl / 3, heart.beat(holder)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(ErrorKind::Connection, "the beat was not answered in time")),
        };
        match answer {
            Ok(beat) => {
                let silent = sent.duration_since(last) >= ttl;
                last = sent;
                add(&books.beats, 1);
                if silent || beat.outcome == BeatOutcome::Recovered {
                    add(&books.recoveries, 1);
                    warn!("the beat came late: what was not confirmed may have been reclaimed");
                }
                books.enter(LeaseState::Held(holder.clone()));
            }
            Err(error) if error.code() == Some(Code::Fenced) => {
                let place = error.detail_text().unwrap_or_default().to_owned();
                error!(place, "fenced: this process holds nothing any more");
                books.enter(LeaseState::Fenced(holder.clone(), place));
                return;
            }
            Err(error) => {
                // What is left of the connection may be a call without an answer.
                heart.client = None;
                add(&books.beats_missed, 1);
                warn!(sqlstate = error.sqlstate(), "a beat is missing: {error}");
                if last.elapsed() >= ttl {
                    books.enter(LeaseState::Silent(holder.clone()));
                }
            }
        }
    }
}

/// Reclaims and prunes, a bounded number each time, for as long as it is polled.
async fn chores(tracker: &ConcurrencyTracker, options: &LeaseOptions, books: &Books) {
    let mut ticks = every(options.ttl / 3);
    loop {
        ticks.tick().await;
        let done = async {
            if options.reclaim_per_beat > 0 {
                let reclaimed = tracker.reclaim_expired(options.reclaim_per_beat.into()).await?;
                add(&books.sessions_reclaimed, u64::try_from(reclaimed.len()).unwrap_or(u64::MAX));
                if !reclaimed.is_empty() {
                    info!(sessions = reclaimed.len(), "reclaimed from managers that died");
                }
            }
            if let Some(age) = options.forget_after {
                let pruned = tracker.prune_ended(age).await?;
                add(&books.sessions_pruned, u64::try_from(pruned).unwrap_or(0));
                let pruned = tracker.prune_managers(age).await?;
                add(&books.managers_pruned, u64::try_from(pruned).unwrap_or(0));
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = done.await {
            add(&books.chores_failed, 1);
            warn!(sqlstate = error.sqlstate(), "could not reclaim or prune: {error}");
        }
    }
}

/// The connection of the beats, opened anew after each failure.
struct Heart {
    config: Config,
    client: Option<Client>,
}

impl Heart {
    async fn beat(&mut self, holder: &Holder) -> Result<Beat> {
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => self.config.connect().await?,
        };
        let client = self.client.insert(client);
        ConcurrencyTracker::on(client).heartbeat_manager(holder).await
    }
}

impl Config {
    /// The application, the host, and something that no other process has.
    fn process_name(&self) -> String {
        let host = gethostname().ok().and_then(|name| name.into_string().ok());
        let host = host.unwrap_or_else(|| "unknown".to_owned());
        let resolved = self.resolved();
        let application = resolved.get_application_name().unwrap_or("occupancy");
        let shortened: String = format!("{application}@{host}").chars().take(240).collect();
        format!("{shortened}/{:08x}", rand::random::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_name_of_its_own_that_fits() {
        let config = Config::default().with_application_name("a".repeat(300));
        let names = [config.process_name(), config.process_name()];
        assert_ne!(names[0], names[1]);
        assert!(names[0].chars().count() <= 256, "{}", names[0]);
    }
}
