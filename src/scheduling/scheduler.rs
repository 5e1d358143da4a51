//! A loop that ticks the queue of one resource group.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Instrument, debug, error, info_span, warn};

use super::hooks::{Hooks, TickReport, guarded};
use super::listener::{Hearing, Listener, WakeUp};
use super::metrics::{Books, SchedulerMetrics};
use super::model::{Scheduling, Tick};
use super::queue::Queue;
use crate::error::{Error, ErrorKind, Result};
use crate::handles::Handles;
use crate::lease::{Lease, LeaseState};
use crate::tracker::ConcurrencyTracker;

/// After a tick that was woken, the next wake-up is answered only after as much time as that tick
/// took, but no later than this. So ticks that place nothing take up half a server process at most.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// The pause after the first tick that fails; it doubles up to the time between two polls.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The pause, about, after which a group is tried again that another manager was at. It would hear of
/// what is freed meanwhile as we do; this is for the case that it is no more.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Counting a long queue costs something.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How a [`Scheduler`] works.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerOptions {
    /// What each tick does, and for which resource group.
    pub tick: Tick,
    /// Without a wake-up it ticks that often: 10 ms to an hour. Default: 5 s. What nobody tells of
    /// is found so late: a start time that has come, or what was freed from psql or in a caller's
    /// own transaction.
    pub poll: Duration,
    /// How it hears that something was freed or enqueued. Default: by LISTEN.
    pub wake_up: WakeUp,
}

impl SchedulerOptions {
    /// The defaults for this resource group.
    #[must_use]
    pub fn of(resource_group: impl Into<String>) -> Self {
        Self {
            tick: Tick::of(resource_group),
            poll: Duration::from_secs(5),
            wake_up: WakeUp::default(),
        }
    }
}

/// Why a tick was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cause {
    /// The scheduler has started.
    Started,
    /// Something was freed or enqueued, or may have been while nobody listened.
    Woken,
    /// It was time.
    Polled,
    /// The tick before looked at as many sessions as it may, and placed some.
    Full,
    /// The tick before found another manager's under way.
    Busy,
    /// The tick before failed.
    Repeated,
}

impl Cause {
    /// The cause as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Woken => "woken",
            Self::Polled => "polled",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Repeated => "repeated",
        }
    }
}

/// How a scheduler stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum SchedulerState {
    /// It ticks, or waits for the next tick.
    Running,
    /// The last tick failed, for this reason; it goes on trying.
    Failing(String),
    /// It has ended, because a newer start has the name of this process's manager. The text says
    /// who is in its place.
    Fenced(String),
    /// It has ended: it was stopped or dropped, or the lease of its process was.
    Stopped,
}

/// Ticks the queue of one resource group, until it is stopped or dropped.
///
/// It ticks when it hears that something was freed or enqueued, and else with each poll; and again
/// at once after a tick that looked at as many sessions as it may and placed some. Any number of
/// schedulers may work on one group, in one process or many: no session is placed twice. One that
/// finds another's tick under way does not wait for it, but comes back a moment later.
///
/// Where the process has a [`Lease`], starting the scheduler registers its manager, whose heartbeat
/// goes on beside it. Once the manager is fenced, or the lease is stopped, the scheduler ends. What
/// its ticks place is not bound to the lease: it lives until it is released.
///
/// A server that is gone or restarts makes ticks fail; it tries again, and goes on by itself. A tick
/// is one transaction, so that none is ever half done. It is sent once: where its answer is lost, the
/// [hook](Hooks::after_tick) is told so.
///
/// # Wake-ups
/// What a process frees, enqueues or allows through its pool wakes the schedulers whose groups have
/// sessions waiting, usually within milliseconds, from a task that no call waits for. Wake-ups are
/// not promised: one that is lost, and everything that happens elsewhere, is found with the next
/// poll. [`hearing`](Self::hearing) tells whether it hears any.
///
/// ```no_run
/// use occupancy::{Config, Handles, Hooks, Policy, Scheduler, SchedulerOptions, Tick, TickReport};
/// use occupancy::WakeUp;
///
/// struct Starter;
///
/// impl Hooks for Starter {
///     async fn after_tick(&self, report: &TickReport) {
///         for session in report.placed() {
///             println!("start {} on {:?}", session.session_id, session.kernels);
///         }
///     }
/// }
///
/// # async fn example(pooler: Config, past_the_pooler: Config) -> occupancy::Result<()> {
/// let handles = Handles::connect(&pooler).await?;
/// let options = SchedulerOptions {
///     tick: Tick { policy: Policy::Drf, ..Tick::of("gpu-nodes") },
///     wake_up: WakeUp::ListenOn(Box::new(past_the_pooler)),
///     ..SchedulerOptions::of("gpu-nodes")
/// };
/// let scheduler = Scheduler::start(&handles, options, Starter)?;
/// println!("{:?} wait", scheduler.metrics().queue_length);
/// scheduler.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct Scheduler {
    /// Dropped, too, it stops the task.
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
    state: watch::Receiver<SchedulerState>,
    hearing: watch::Receiver<Hearing>,
    books: Arc<Books>,
}

impl Scheduler {
    /// Starts a scheduler; call it within a Tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the time between two polls is out of its bounds. What only the
    /// database can tell, such as an unknown policy, shows as [`SchedulerState::Failing`].
    pub fn start(handles: &Handles, options: SchedulerOptions, hooks: impl Hooks) -> Result<Self> {
        let SchedulerOptions { tick, poll, wake_up } = options;
        if !(Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&poll) {
            return Err(Error::new(
                ErrorKind::Config,
                "the time between two polls is out of range",
            )
            .detail(format!("{poll:?}"))
            .hint("choose 10 ms to an hour"));
        }
        let (stop, stopped) = watch::channel(false);
        let (state, states) = watch::channel(SchedulerState::Running);
        let silent = Hearing::Polling("the scheduler was started so".to_owned());
        let listens_on = match wake_up {
            WakeUp::Listen => Some(handles.config().clone()),
            WakeUp::ListenOn(config) => Some(*config),
            WakeUp::Poll => None,
        };
        let (hearing, hearings) = watch::channel(match listens_on {
            Some(_) => Hearing::Connecting,
            None => silent,
        });
        let listener = listens_on.map(|config| Listener {
            config,
            resource_group: tick.resource_group.clone(),
            pooled: handles.pooled().clone(),
        });
        let books = Arc::new(Books::default());
        let span = info_span!("occupancy scheduler", resource_group = tick.resource_group);
        let ticker = Ticker {
            queue: Queue::new(ConcurrencyTracker::new(handles.pooled().clone().once())),
            tick,
            poll,
            lease: handles.lease().cloned(),
            hooks,
            books: Arc::clone(&books),
            state,
            counted: None,
        };
        let task = tokio::spawn(run(ticker, listener, hearing, stopped).instrument(span));
        Ok(Self { stop, task: Mutex::new(Some(task)), state: states, hearing: hearings, books })
    }

    /// Stops, and waits for the end of the tick that is under way and of its hooks.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.lock().await.take() {
            // It does not panic, and nobody else aborts it.
            let _ = task.await;
        }
    }

    /// How it stands now.
    #[must_use]
    pub fn state(&self) -> SchedulerState {
        self.state.borrow().clone()
    }

    /// Every change of how it stands, to wait for.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<SchedulerState> {
        self.state.clone()
    }

    /// Whether it hears wake-ups now.
    #[must_use]
    pub fn hearing(&self) -> Hearing {
        self.hearing.borrow().clone()
    }

    /// Every change of that, to wait for.
    #[must_use]
    pub fn watch_hearing(&self) -> watch::Receiver<Hearing> {
        self.hearing.clone()
    }

    /// What it has seen and done so far.
    #[must_use]
    pub fn metrics(&self) -> SchedulerMetrics {
        self.books.snapshot()
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("state", &self.state())
            .field("hearing", &self.hearing())
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}

/// The task.
async fn run<H: Hooks>(
    mut ticker: Ticker<H>,
    listener: Option<Listener>,
    hearing: watch::Sender<Hearing>,
    stopped: watch::Receiver<bool>,
) {
    let bell = Notify::new();
    let listening = async {
        match &listener {
            Some(listener) => listener.run(&bell, &hearing).await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        end = ticker.run(&bell, stopped) => end,
        () = listening => SchedulerState::Stopped,
    };
    if let SchedulerState::Fenced(place) = &end {
        error!(place, "fenced: this process schedules no more");
    } else {
        debug!("the scheduler ends");
    }
    ticker.state.send_replace(end);
}

/// What follows a tick.
enum Then {
    /// Another one at once, which may place more.
    More,
    /// None before a wake-up or the next poll.
    Rest,
    /// Another one soon, as another manager was at it.
    Return,
    /// Another one later, as it failed.
    Repeat,
}

/// How long to leave a group alone that another manager is at. Those that wait come back one by one.
pub(crate) fn busy_pause() -> Duration {
    rand::random_range(BUSY_PAUSE / 2..=BUSY_PAUSE * 3 / 2)
}

/// The loop's own side.
struct Ticker<H> {
    /// Sends each call once: a tick that was repeated would not tell what it placed before.
    queue: Queue,
    tick: Tick,
    poll: Duration,
    lease: Option<Lease>,
    hooks: H,
    books: Arc<Books>,
    state: watch::Sender<SchedulerState>,
    counted: Option<Instant>,
}

impl<H: Hooks> Ticker<H> {
    /// Ticks until it has to end. Only between two ticks is it looked whether it has to.
    async fn run(&mut self, bell: &Notify, mut stopped: watch::Receiver<bool>) -> SchedulerState {
        let mut cause = Cause::Started;
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let (pause, next) = match self.tick(cause).await {
                Then::More => (Duration::ZERO, Cause::Full),
                Then::Rest => (self.poll, Cause::Polled),
                Then::Return => (busy_pause().min(self.poll), Cause::Busy),
                Then::Repeat => (self.pause_after(failures), Cause::Repeated),
            };
            failures = if next == Cause::Repeated { failures + 1 } else { 0 };
            let rest = started.elapsed().min(LONGEST_REST);
            if next != Cause::Repeated {
                self.count(cause).await;
            }
            let due = Instant::now() + pause;
            cause = tokio::select! {
                biased;
                // Whoever could stop it is gone, or has done so.
                _ = stopped.wait_for(|stopped| *stopped) => return SchedulerState::Stopped,
                end = end_of(self.lease.as_ref()) => return end,
                () = sleep_until(due) => next,
                () = async { sleep(rest).await; bell.notified().await } => Cause::Woken,
            };
        }
    }

    /// One tick with its hooks.
    async fn tick(&self, cause: Cause) -> Then {
        self.hook(async { self.hooks.before_tick(&self.tick).await }).await;
        let sent = Instant::now();
        let answer = self.schedule().await;
        let took = sent.elapsed();
        let busy = matches!(answer, Ok(None));
        let report =
            TickReport { cause, took, busy, result: answer.map(Option::unwrap_or_default) };
        self.books.ticked(&report);
        let then = self.judge(&report);
        self.hook(async { self.hooks.after_tick(&report).await }).await;
        then
    }

    async fn schedule(&self) -> Result<Option<Vec<Scheduling>>> {
        if let Some(lease) = &self.lease {
            lease.register().await?;
        }
        self.queue.try_schedule_sessions(&self.tick).await
    }

    /// Notes how it went, and tells what follows.
    fn judge(&self, report: &TickReport) -> Then {
        let sessions = match &report.result {
            Ok(sessions) => sessions,
            Err(error) => {
                warn!(sqlstate = error.sqlstate(), "a tick failed: {error}");
                self.enter(SchedulerState::Failing(error.to_string()));
                return Then::Repeat;
            }
        };
        let placed = report.placed().count();
        debug!(
            cause = report.cause.as_str(),
            busy = report.busy,
            placed,
            waiting = sessions.len() - placed,
            duration_ms = report.took.as_secs_f64() * 1000.0,
            "ticked"
        );
        self.enter(SchedulerState::Running);
        if report.busy {
            Then::Return
        } else if placed > 0 && usize::try_from(self.tick.max_sessions) == Ok(sessions.len()) {
            Then::More
        } else {
            Then::Rest
        }
    }

    async fn hook(&self, hook: impl Future<Output = ()>) {
        if !guarded(hook).await {
            error!("a hook of the scheduler panicked");
            self.books.hook_panicked();
        }
    }

    /// Counts the queue for the metrics, unless that was just done.
    async fn count(&mut self, cause: Cause) {
        let counted = self.counted.is_some_and(|counted| counted.elapsed() < COUNT_EVERY);
        if counted && cause != Cause::Polled {
            return;
        }
        match self.queue.get_queues(Some(&self.tick.resource_group)).await {
            Ok(states) => {
                self.books.counted(states.first());
                self.counted = Some(Instant::now());
            }
            Err(error) => debug!(sqlstate = error.sqlstate(), "the queue was not counted: {error}"),
        }
    }

    fn pause_after(&self, failures: u32) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures));
        let bound = doubled.min(self.poll.max(FIRST_PAUSE));
        rand::random_range(bound / 2..=bound)
    }

    fn enter(&self, state: SchedulerState) {
        self.state.send_if_modified(|present| {
            let changes = *present != state;
            *present = state;
            changes
        });
    }
}

/// Waits until the lease ends, and tells how a scheduler ends with it.
async fn end_of(lease: Option<&Lease>) -> SchedulerState {
    let Some(lease) = lease else { return std::future::pending().await };
    let mut states = lease.watch();
    let ended = |state: &LeaseState| matches!(state, LeaseState::Fenced(..) | LeaseState::Stopped);
    match states.wait_for(ended).await.as_deref() {
        Ok(LeaseState::Fenced(_, place)) => SchedulerState::Fenced(place.clone()),
        _ => SchedulerState::Stopped,
    }
}
