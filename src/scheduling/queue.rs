//! Sessions that wait.

use std::time::Duration;

use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::model::{
    Cancellation, Enqueued, Explanation, Holding, QueueState, QueuedSession, Scheduling,
    SessionRequest, StatusChange, Tick, Transition,
};
use super::statements as sql;
use crate::call::{self, Executor, Within};
use crate::error::Result;
use crate::model::{Correction, SessionStatus};
use crate::pool::Pooled;
use crate::tracker::ConcurrencyTracker;

/// Lets sessions wait, places them, and tells why one still waits: a method per function.
///
/// It is given the tracker and runs where that runs: pooled, or within the caller's transaction.
/// Its methods fail as those of [`ConcurrencyTracker`] do. What a tick placed is nobody's lease: it
/// lives until it is released, like a session that was confirmed.
///
/// ```no_run
/// use occupancy::{Handles, ResourceSlots, SessionRequest, SessionStatus, Tick};
/// use uuid::Uuid;
///
/// # async fn example(handles: &Handles) -> occupancy::Result<()> {
/// let queue = handles.queue();
/// let request = SessionRequest::new(Uuid::now_v7(), "AKIA")
///     .with_kernel(ResourceSlots::new().with("cpu", 4).with("mem", "16g"));
/// let answer = queue.enqueue_session(&request).await?;
/// if !answer.is_accepted() {
///     println!("{}", answer.message.unwrap_or_default());
/// }
/// for session in queue.schedule_sessions(&Tick::of("default")).await? {
///     if session.is_placed() {
///         // Start its kernels on their agents, and say so.
///         queue.set_session_status(session.session_id, &SessionStatus::Running, None).await?;
///     } else {
///         println!("{} waits: {}", session.session_id, session.message.unwrap_or_default());
///     }
/// }
/// handles.tracker().release_session(request.session_id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Queue<E = Pooled> {
    tracker: ConcurrencyTracker<E>,
}

#[allow(clippy::missing_errors_doc, reason = "every method fails as the tracker's page says")]
impl<E: Executor> Queue<E> {
    /// The queue that runs where this tracker runs.
    #[must_use]
    pub fn new(tracker: ConcurrencyTracker<E>) -> Self {
        Self { tracker }
    }

    /// The same methods on the caller's transaction or connection, without retries. A tick holds
    /// many rows until the transaction ends: end it soon.
    #[must_use]
    pub fn within<'a, C>(&self, client: &'a C) -> Queue<Within<'a, C>>
    where
        C: GenericClient + Sync,
    {
        Queue::new(self.tracker.within(client))
    }

    /// Lets a session wait until a tick places it, if the limits of waiting allow that. A repeated
    /// call is answered with `already_enqueued`.
    pub async fn enqueue_session(&self, request: &SessionRequest) -> Result<Enqueued> {
        call::one(
            self.executor(),
            &sql::enqueue_session,
            &[
                &request.session_id,
                &request.access_key,
                &Json(&request.kernels),
                &request.session_type.as_str(),
                &request.project,
                &request.resource_group,
                &request.priority,
                &request.starts_at,
                &request.dependencies,
                &request.cluster_mode.as_str(),
            ],
        )
        .await
    }

    /// Takes a session that waits out of the queue. One that a tick has placed meanwhile is told
    /// so and stays as it is.
    pub async fn cancel_session(&self, session_id: Uuid) -> Result<Cancellation> {
        call::one(self.executor(), &sql::cancel_session, &[&session_id]).await
    }

    /// Cancels the sessions that have waited for longer than this, at most 10,000 a call, and
    /// returns how many those were. A call that the pool repeated counts what its lost predecessor
    /// left.
    pub async fn expire_pending(&self, older_than: Duration) -> Result<i64> {
        call::one(self.executor(), &sql::expire_pending, &[&older_than.as_secs_f64()]).await
    }

    /// One tick: places as many waiting sessions of a resource group as there is room for, in one
    /// transaction, exact against every limit. An answer for each session that it looked at, in
    /// that order.
    ///
    /// Any number of processes may tick one group at once: they take turns, and no session is placed
    /// twice. A call that the pool repeated does not list what its lost predecessor placed: that is
    /// found as sessions which are [`Scheduled`](SessionStatus::Scheduled).
    pub async fn schedule_sessions(&self, tick: &Tick) -> Result<Vec<Scheduling>> {
        self.tick(tick, true).await.map(Option::unwrap_or_default)
    }

    /// The same, unless a tick of this group is under way elsewhere: then `None` at once. Who waits
    /// for his turn keeps the server from removing old versions of rows, which costs the others
    /// time.
    pub async fn try_schedule_sessions(&self, tick: &Tick) -> Result<Option<Vec<Scheduling>>> {
        self.tick(tick, false).await
    }

    async fn tick(&self, tick: &Tick, wait: bool) -> Result<Option<Vec<Scheduling>>> {
        let Tick { resource_group, max_sessions, policy, selector, tries } = tick;
        let answers: Vec<Option<Scheduling>> = call::all(
            self.executor(),
            &sql::schedule_sessions,
            &[resource_group, max_sessions, &policy.as_str(), &selector.as_str(), tries, &wait],
        )
        .await?;
        Ok(answers.into_iter().collect())
    }

    /// Moves a session along its life, and notes why. What the state machine does not know is
    /// [`IllegalTransition`](crate::Code::IllegalTransition), with both states in the detail.
    pub async fn set_session_status(
        &self,
        session_id: Uuid,
        status: &SessionStatus,
        reason: Option<&str>,
    ) -> Result<Transition> {
        call::one(
            self.executor(),
            &sql::set_session_status,
            &[&session_id, &status.as_str(), &reason],
        )
        .await
    }

    /// Why a session waits: an answer for each thing that is in its way at this moment, or a single
    /// one without a code. An unknown session is
    /// [`UnknownSessionOrKernel`](crate::Code::UnknownSessionOrKernel).
    pub async fn explain_session(&self, session_id: Uuid) -> Result<Vec<Explanation>> {
        call::all(self.executor(), &sql::explain_session, &[&session_id]).await
    }

    /// Who holds an agent: its live kernels, the oldest session first.
    pub async fn explain_agent(&self, agent_id: &str) -> Result<Vec<Holding>> {
        call::all(self.executor(), &sql::explain_agent, &[&agent_id]).await
    }

    /// Who holds what an access key may have: the live kernels of its sessions, the oldest first.
    pub async fn explain_key(&self, access_key: &str) -> Result<Vec<Holding>> {
        call::all(self.executor(), &sql::explain_key, &[&access_key]).await
    }

    /// How long the queue of a resource group is, or every queue; none where nobody waits.
    pub async fn get_queues(&self, resource_group: Option<&str>) -> Result<Vec<QueueState>> {
        call::all(self.executor(), &sql::get_queues, &[&resource_group]).await
    }

    /// The sessions that wait in a resource group, by priority and then the oldest first.
    pub async fn queue(&self, resource_group: &str) -> Result<Vec<QueuedSession>> {
        call::all(self.executor(), &sql::queue, &[&resource_group]).await
    }

    /// Every change in the state of a session that came through the queue, the first one first.
    pub async fn history(&self, session_id: Uuid) -> Result<Vec<StatusChange>> {
        call::all(self.executor(), &sql::history, &[&session_id]).await
    }

    /// Recounts what waits for one key. Safe while others enqueue, tick and cancel. A call that the
    /// pool repeated lists only what its lost predecessor left, here and below.
    pub async fn recalc_queue(&self, access_key: &str) -> Result<Vec<Correction>> {
        call::all(self.executor(), &sql::recalc_queue, &[&access_key]).await
    }

    /// Recounts what waits for every key: scans everything.
    pub async fn recalc_queue_fullscan(&self) -> Result<Vec<Correction>> {
        call::all(self.executor(), &sql::recalc_queue_fullscan, &[]).await
    }

    fn executor(&self) -> &E {
        &self.tracker.executor
    }
}
