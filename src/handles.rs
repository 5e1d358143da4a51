//! Everything that a process is given, put together.

use crate::agents::AgentRegistry;
use crate::config::Config;
use crate::error::Result;
use crate::lease::Lease;
use crate::pool::Pooled;
use crate::scheduling::{Queue, herald};
use crate::tracker::ConcurrencyTracker;

/// What a process builds once at its start: the pool, and on it the objects that the rest of the
/// process is given.
///
/// ```no_run
/// use occupancy::{Config, Handles, Reservation, ResourceSlots};
/// use uuid::Uuid;
///
/// # async fn example() -> occupancy::Result<()> {
/// let config: Config = "postgresql://manager@db1,db2/platform?target_session_attrs=read-write"
///     .parse()?;
/// let handles = Handles::connect(&config).await?;
/// let tracker = handles.tracker();
///
/// let session_id = Uuid::now_v7();
/// let slots = ResourceSlots::new().with("cpu", 4).with("mem", "16g");
/// let reservation = Reservation::new(session_id, "AKIA").with_kernel("i-01", slots);
/// let admission = tracker.reserve_session(&reservation).await?;
/// if !admission.is_admitted() {
///     println!("{}", admission.message.unwrap_or_default());
/// }
/// // Once it runs; until then it is freed should this process die.
/// tracker.confirm_session(session_id).await?;
/// tracker.release_session(session_id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Handles {
    tracker: ConcurrencyTracker,
    agents: AgentRegistry,
    queue: Queue,
    lease: Option<Lease>,
    config: Config,
    pooled: Pooled,
}

impl Handles {
    /// Builds the pool and proves with one connection that the database answers and that its
    /// schema fits this library.
    ///
    /// A server that is just starting or failing over is waited for as the retry policy says; a
    /// host that nobody listens on is reported at once.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`](crate::ErrorKind::Connection) if no host can be reached,
    /// [`ErrorKind::Schema`](crate::ErrorKind::Schema) if the schema is missing, too old, or past a
    /// breaking migration; and what the server answers.
    pub async fn connect(config: &Config) -> Result<Self> {
        let pooled = Pooled::new(config)?;
        pooled.prove().await?;
        let lease = config.lease.clone().map(|options| Lease::new(config, options, pooled.clone()));
        if config.wake_ups {
            tokio::spawn(herald(config.clone(), pooled.freed()));
        }
        let tracker = ConcurrencyTracker::new(pooled.clone());
        let tracker = match &lease {
            Some(lease) => tracker.leased(lease.clone()),
            None => tracker,
        };
        let agents = AgentRegistry::new(tracker.clone());
        let (queue, config) = (Queue::new(tracker.clone()), config.clone());
        Ok(Self { tracker, agents, queue, lease, config, pooled })
    }

    /// Sessions: reserving, releasing, counting, repairing, and the limits that bind them.
    #[must_use]
    pub fn tracker(&self) -> &ConcurrencyTracker {
        &self.tracker
    }

    /// This process as a holder of what it reserves; `None` if [`Config::without_lease`] said so.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Agents: registering, heartbeats and occupancy.
    #[must_use]
    pub fn agents(&self) -> &AgentRegistry {
        &self.agents
    }

    /// The queue: sessions that wait, ticks that place them, and why one still waits.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// How this process connects.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What runs the calls of all handles.
    pub(crate) fn pooled(&self) -> &Pooled {
        &self.pooled
    }
}
