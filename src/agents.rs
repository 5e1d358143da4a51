//! Agents and what is occupied of them.

use std::time::Duration;

use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::call::{self, Executor, Within};
use crate::error::Result;
use crate::model::{
    AgentOccupancy, AgentStatus, Correction, DropOutcome, Heartbeat, KernelRelease, LiveKernel,
    LostAgent, PutOutcome,
};
use crate::pool::Pooled;
use crate::statements as sql;
use crate::tracker::ConcurrencyTracker;

/// Registers agents, records their heartbeats and repairs their occupancy.
///
/// It is given the tracker and runs where that runs: pooled, or within the caller's transaction.
/// Its methods fail as those of [`ConcurrencyTracker`] do.
///
/// ```no_run
/// # async fn example(agents: &occupancy::AgentRegistry) -> occupancy::Result<()> {
/// use occupancy::{Heartbeat, ResourceSlots};
///
/// let capacity = ResourceSlots::new().with("cpu", 64).with("mem", "256g").with("cuda.shares", 8);
/// agents
///     .put_agent(&Heartbeat { available_slots: Some(capacity), ..Heartbeat::new("i-01") })
///     .await?;
/// for agent in agents.agent_occupancy().await? {
///     println!("{}: {} of {}", agent.agent_id, agent.occupied_slots, agent.available_slots);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AgentRegistry<E = Pooled> {
    tracker: ConcurrencyTracker<E>,
}

#[allow(clippy::missing_errors_doc, reason = "every method fails as the tracker's page says")]
impl<E: Executor> AgentRegistry<E> {
    /// The registry that runs where this tracker runs.
    #[must_use]
    pub fn new(tracker: ConcurrencyTracker<E>) -> Self {
        Self { tracker }
    }

    /// The same methods on the caller's transaction or connection, without retries.
    #[must_use]
    pub fn within<'a, C>(&self, client: &'a C) -> AgentRegistry<Within<'a, C>>
    where
        C: GenericClient + Sync,
    {
        AgentRegistry::new(self.tracker.within(client))
    }

    /// Registers an agent or records its heartbeat. It never touches what is occupied, and a
    /// heartbeat never undoes a drain.
    pub async fn put_agent(&self, heartbeat: &Heartbeat) -> Result<PutOutcome> {
        call::one(
            self.executor(),
            &sql::put_agent,
            &[
                &heartbeat.agent_id,
                &heartbeat.available_slots.as_ref().map(Json),
                &heartbeat.resource_group,
                &heartbeat.status.as_ref().map(AgentStatus::as_str),
                &heartbeat.schedulable,
            ],
        )
        .await
    }

    /// Removes an agent that runs no kernel.
    pub async fn drop_agent(&self, agent_id: &str) -> Result<DropOutcome> {
        call::one(self.executor(), &sql::drop_agent, &[&agent_id]).await
    }

    /// Agents whose last heartbeat is older than `ttl` (at least 1 s) become `LOST`: they get no new
    /// kernels, and keep what they hold until it is released, or they are evacuated. A heartbeat
    /// brings them back. A call that the pool repeated lists only what its lost predecessor left.
    pub async fn sweep_agents(&self, ttl: Duration) -> Result<Vec<LostAgent>> {
        call::all(self.executor(), &sql::sweep_agents, &[&ttl.as_secs_f64()]).await
    }

    /// The agent's kernels are gone: frees each, once. One whose last kernel that was ends its
    /// session. A call that the pool repeated lists only what its lost predecessor left.
    pub async fn evacuate_agent(&self, agent_id: &str) -> Result<Vec<KernelRelease>> {
        call::all(self.executor(), &sql::evacuate_agent, &[&agent_id]).await
    }

    /// Every agent with its capacity and what is taken of it, by id.
    pub async fn agent_occupancy(&self) -> Result<Vec<AgentOccupancy>> {
        call::all(self.executor(), &sql::agent_occupancy, &[]).await
    }

    /// The kernels that live on the agent, the oldest first.
    pub async fn kernels(&self, agent_id: &str) -> Result<Vec<LiveKernel>> {
        call::all(self.executor(), &sql::kernels, &[&agent_id]).await
    }

    /// Recounts one agent from its live kernels. Safe while others reserve and release. A call
    /// that the pool repeated lists only what its lost predecessor left, here and below.
    pub async fn recalc_agent(&self, agent_id: &str) -> Result<Vec<Correction>> {
        call::all(self.executor(), &sql::recalc_agent, &[&agent_id]).await
    }

    /// Recounts the agents of one session.
    pub async fn recalc_agents_by_session(&self, session_id: Uuid) -> Result<Vec<Correction>> {
        call::all(self.executor(), &sql::recalc_agents_by_session, &[&session_id]).await
    }

    /// Recounts every agent: scans everything.
    pub async fn recalc_agents_fullscan(&self) -> Result<Vec<Correction>> {
        call::all(self.executor(), &sql::recalc_agents_fullscan, &[]).await
    }

    fn executor(&self) -> &E {
        &self.tracker.executor
    }
}
