//! What is asked of the functions of the queue, and what they answer, as types.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSqlOwned, Json};
use uuid::Uuid;

use crate::call::FromRow;
use crate::model::{SessionStatus, SessionType, rows, words};
use crate::slots::ResourceSlots;

words! {
    /// Where the kernels of a session may go.
    #[derive(Default)]
    ClusterMode {
        /// All of them to one agent.
        #[default]
        SingleNode = "single-node",
        /// Each to its own best agent, all of them or none.
        MultiNode = "multi-node",
    }

    /// In which order a tick looks at sessions of equal priority.
    #[derive(Default)]
    Policy {
        /// First come, first served; who failed often enough steps aside
        /// (see [`Tick::tries`]).
        #[default]
        Fifo = "fifo",
        /// The last to come first.
        Lifo = "lifo",
        /// The key that has least of what it has most of, its dominant share, first.
        Drf = "drf",
    }

    /// Which of the agents that have room gets a session. All of them leave agents with rare slots
    /// to those who ask for these.
    #[derive(Default)]
    Selector {
        /// The one with least left: keeps others free for large sessions.
        Concentrated = "concentrated",
        /// The one with most left: spreads load.
        #[default]
        Dispersed = "dispersed",
        /// The next in order of ids.
        Roundrobin = "roundrobin",
        /// The one with most capacity.
        Legacy = "legacy",
    }

    /// How a session that wants to wait was answered.
    EnqueueOutcome {
        /// It waits.
        Enqueued = "enqueued",
        /// The same call was answered before; the session waits, or has been placed since.
        AlreadyEnqueued = "already_enqueued",
        /// A limit stands in the way; nothing was changed.
        Rejected = "rejected",
    }

    /// What became of a cancellation.
    CancelOutcome {
        /// It waited, and no longer does.
        Cancelled = "cancelled",
        /// It had been cancelled before.
        AlreadyCancelled = "already_cancelled",
        /// A tick was faster: it holds resources. Release it.
        Placed = "placed",
        /// It had been placed, and has ended.
        AlreadyReleased = "already_released",
        /// Nobody had enqueued it. That is remembered: a late call to enqueue it is rejected.
        Unknown = "unknown",
    }

    /// What a tick made of a session.
    SchedulingOutcome {
        /// It is [`Scheduled`](SessionStatus::Scheduled) and holds slot, quotas and agents.
        Placed = "placed",
        /// It goes on waiting.
        Waiting = "waiting",
    }

    /// What became of a change of state.
    TransitionOutcome {
        /// It is in that state now.
        Changed = "changed",
        /// It was there already.
        Unchanged = "unchanged",
    }

    /// What keeps a session waiting, or from waiting.
    QueueCode {
        /// It has ended, or was cancelled or released before it was enqueued.
        SessionEnded = "session_ended",
        /// The key has too many waiting sessions.
        PendingSessions = "pending_sessions",
        /// The key's waiting sessions ask for too much together.
        PendingResourceSlots = "pending_resource_slots",
        /// Its start time is still to come.
        StartTime = "start_time",
        /// A session that it depends on has not ended with success.
        Dependencies = "dependencies",
        /// The access key is switched off.
        KeyInactive = "key_inactive",
        /// More kernels than the resource policy allows in one session.
        KernelsPerSession = "kernels_per_session",
        /// The key's limit of concurrent compute sessions.
        ConcurrencyLimit = "concurrency_limit",
        /// The key's limit of concurrent system sessions.
        SystemConcurrencyLimit = "system_concurrency_limit",
        /// The slots that the resource policy allows to the key.
        KeypairQuota = "keypair_quota",
        /// The user's quota of sessions or slots.
        UserQuota = "user_quota",
        /// The project's quota of sessions or slots.
        ProjectQuota = "project_quota",
        /// The resource group's quota of sessions or slots.
        ResourceGroupQuota = "resource_group_quota",
        /// The domain's quota of sessions or slots.
        DomainQuota = "domain_quota",
        /// No agent of the group has room for it.
        NoAgentFits = "no_agent_fits",
        /// The agent that it named has no room, or cannot be used.
        DesignatedAgent = "designated_agent",
        /// A kernel id that it brought belongs to another session by now.
        KernelIdTaken = "kernel_id_taken",
    }
}

/// One kernel (container) of a session that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedKernel {
    /// Its id; left out, the database generates one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_id: Option<Uuid>,
    /// The agent that it must run on; left out, a tick chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What it asks of its agent.
    pub slots: ResourceSlots,
}

/// A session that may wait until there is room for it: whose it is, and a kernel or several.
///
/// Sending the same content under the same id again is answered with `already_enqueued`, which is
/// how a caller that never got its answer finds out.
///
/// ```
/// use occupancy::{ClusterMode, ResourceSlots, SessionRequest, SessionType};
/// use uuid::Uuid;
///
/// let training = SessionRequest::new(Uuid::now_v7(), "AKIA")
///     .with_type(SessionType::Batch)
///     .with_priority(20)
///     .with_cluster_mode(ClusterMode::MultiNode)
///     .with_kernel(ResourceSlots::new().with("cpu", 4).with("cuda.shares", 1))
///     .with_kernel(ResourceSlots::new().with("cpu", 4).with("cuda.shares", 1));
/// let evaluation = SessionRequest::new(Uuid::now_v7(), "AKIA")
///     .with_type(SessionType::Batch)
///     .with_dependency(training.session_id)
///     .with_kernel(ResourceSlots::new().with("cpu", 1));
/// assert_eq!(evaluation.resource_group, "default");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a request does nothing until it is sent"]
pub struct SessionRequest {
    /// The caller's id for the session.
    pub session_id: Uuid,
    /// The key that it will be charged to.
    pub access_key: String,
    /// Its kernels: 1 to 1000.
    pub kernels: Vec<QueuedKernel>,
    /// What it is for.
    #[serde(default)]
    pub session_type: SessionType,
    /// The project that it will be charged to, if any.
    #[serde(default)]
    pub project: Option<String>,
    /// The resource group whose agents it may get. Default: `default`.
    #[serde(default = "default_group")]
    pub resource_group: String,
    /// 0 to 100: the higher goes first, strictly. Default: 10.
    #[serde(default = "default_priority")]
    pub priority: i32,
    /// Not before this time; for [`Batch`](SessionType::Batch) sessions only.
    #[serde(default)]
    pub starts_at: Option<Timestamp>,
    /// Sessions that must end with success before; at most 1000.
    #[serde(default)]
    pub dependencies: Vec<Uuid>,
    /// Whether its kernels must be together.
    #[serde(default)]
    pub cluster_mode: ClusterMode,
}

fn default_group() -> String {
    "default".to_owned()
}

fn default_priority() -> i32 {
    10
}

impl SessionRequest {
    /// An interactive session of this key, without kernels so far.
    pub fn new(session_id: Uuid, access_key: impl Into<String>) -> Self {
        Self {
            session_id,
            access_key: access_key.into(),
            kernels: Vec::new(),
            session_type: SessionType::default(),
            project: None,
            resource_group: default_group(),
            priority: default_priority(),
            starts_at: None,
            dependencies: Vec::new(),
            cluster_mode: ClusterMode::default(),
        }
    }

    /// With one more kernel, whose id the database generates and whose agent a tick chooses.
    pub fn with_kernel(mut self, slots: ResourceSlots) -> Self {
        self.kernels.push(QueuedKernel { kernel_id: None, agent: None, slots });
        self
    }

    /// With one more kernel, which runs on this agent or nowhere.
    pub fn with_kernel_on(mut self, agent: impl Into<String>, slots: ResourceSlots) -> Self {
        self.kernels.push(QueuedKernel { kernel_id: None, agent: Some(agent.into()), slots });
        self
    }

    /// Of this type instead of [`SessionType::Interactive`].
    pub fn with_type(mut self, session_type: SessionType) -> Self {
        self.session_type = session_type;
        self
    }

    /// Charged to this project too.
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// For the agents of this resource group instead of `default`.
    pub fn with_resource_group(mut self, resource_group: impl Into<String>) -> Self {
        self.resource_group = resource_group.into();
        self
    }

    /// With this priority, 0 to 100, instead of 10.
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Not before this time.
    pub fn with_start(mut self, starts_at: Timestamp) -> Self {
        self.starts_at = Some(starts_at);
        self
    }

    /// Not before this session has ended with success, too.
    pub fn with_dependency(mut self, session_id: Uuid) -> Self {
        self.dependencies.push(session_id);
        self
    }

    /// With its kernels together, or wherever there is room.
    pub fn with_cluster_mode(mut self, cluster_mode: ClusterMode) -> Self {
        self.cluster_mode = cluster_mode;
        self
    }
}

/// How a tick goes about its work.
///
/// ```
/// use occupancy::{Policy, Selector, Tick};
///
/// let tick = Tick {
///     policy: Policy::Drf,
///     selector: Selector::Concentrated,
///     ..Tick::of("gpu-nodes")
/// };
/// assert_eq!((tick.max_sessions, tick.tries), (1000, 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Whose queue it looks at.
    pub resource_group: String,
    /// At how many sessions at most: 1 to 10,000. Default: 1000.
    pub max_sessions: i32,
    /// In which order, within a priority. Default: `fifo`.
    pub policy: Policy,
    /// Which agent a session gets. Default: `dispersed`.
    pub selector: Selector,
    /// With `fifo`: a session that so many ticks could not place steps aside for those behind it.
    /// 0 = never, so that nobody passes it. Default: 3.
    pub tries: i32,
}

impl Tick {
    /// A tick of this resource group.
    #[must_use]
    pub fn of(resource_group: impl Into<String>) -> Self {
        Self {
            resource_group: resource_group.into(),
            max_sessions: 1000,
            policy: Policy::default(),
            selector: Selector::default(),
            tries: 3,
        }
    }
}

impl Default for Tick {
    /// A tick of the resource group `default`.
    fn default() -> Self {
        Self::of(default_group())
    }
}

/// One thing that keeps a session waiting, or from waiting.
///
/// Amounts are a number of sessions or kernels or the amount of one slot; an object of slots where
/// an agent is sought; a time in ISO 8601 where one must come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueViolation {
    /// Which one.
    pub code: QueueCode,
    /// What it belongs to: `session`, `keypair`, `agent`, or the scope of a quota.
    #[serde(default)]
    pub scope: Option<String>,
    /// Which session, key, agent, user, project, … it is.
    #[serde(default)]
    pub scope_id: Option<String>,
    /// The slot that is short; `None` where it is not about one slot.
    #[serde(default)]
    pub slot: Option<String>,
    /// How much is in use at present.
    #[serde(default)]
    pub used: Option<Value>,
    /// How much the session asks for.
    #[serde(default)]
    pub requested: Option<Value>,
    /// How much there may be; where an agent is sought, the most that one has free.
    #[serde(default)]
    pub max: Option<Value>,
    /// The same for people.
    #[serde(default)]
    pub message: Option<String>,
}

/// Answer to a session that wants to wait.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use = "a session may not be allowed to wait"]
#[non_exhaustive]
pub struct Enqueued {
    /// The session.
    pub session_id: Uuid,
    /// What was decided.
    pub outcome: EnqueueOutcome,
    /// Why it was rejected: the code of the first violation.
    pub code: Option<QueueCode>,
    /// The same for people.
    pub message: Option<String>,
    /// What stood in the way, with amounts.
    pub violations: Vec<QueueViolation>,
}

impl Enqueued {
    /// Whether the session waits or has been placed, be it by this call or by an earlier one.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self.outcome, EnqueueOutcome::Enqueued | EnqueueOutcome::AlreadyEnqueued)
    }
}

impl FromRow for Enqueued {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            session_id: row.try_get("session_id")?,
            outcome: row.try_get("outcome")?,
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            violations: list(row, "violations")?,
        })
    }
}

/// A kernel, and the agent that a tick gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KernelPlace {
    /// The kernel, the caller's id or a generated one.
    pub kernel_id: Uuid,
    /// Its agent.
    pub agent: String,
}

/// What a tick made of one session.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Scheduling {
    /// The session.
    pub session_id: Uuid,
    /// Whether it is placed.
    pub outcome: SchedulingOutcome,
    /// Why it waits: the code of the first violation.
    pub code: Option<QueueCode>,
    /// The same for people.
    pub message: Option<String>,
    /// Everything that it waits for, with amounts.
    pub violations: Vec<QueueViolation>,
    /// Where its kernels are to run; empty while it waits.
    pub kernels: Vec<KernelPlace>,
}

impl Scheduling {
    /// Whether it holds its resources now, and can be started.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        self.outcome == SchedulingOutcome::Placed
    }
}

/// `None` is the answer that another tick of the group is under way.
impl FromRow for Option<Scheduling> {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let Some(session_id) = row.try_get("session_id")? else { return Ok(None) };
        Ok(Some(Scheduling {
            session_id,
            outcome: row.try_get("outcome")?,
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            violations: list(row, "violations")?,
            kernels: list(row, "kernels")?,
        }))
    }
}

/// A session that holds part of what another one waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InTheWay {
    /// The session.
    pub session_id: Uuid,
    /// The key that it is charged to.
    pub access_key: String,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// What it occupies.
    pub slots: ResourceSlots,
    /// Since when.
    pub since: Timestamp,
}

/// One thing that a session waits for at this moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The session.
    pub session_id: Uuid,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// Since when it waits, by the database's clock; like the next two `None` if it does not.
    pub waiting_since: Option<Timestamp>,
    /// How many ticks have looked at it.
    pub tries: Option<i64>,
    /// The last of them.
    pub tried_at: Option<Timestamp>,
    /// What is in the way; `None` if nothing is.
    pub code: Option<QueueCode>,
    /// The same for people.
    pub message: Option<String>,
    /// What it belongs to, as in [`QueueViolation`]; and so on.
    pub scope: Option<String>,
    /// Which session, key, agent, user, project, … it is.
    pub scope_id: Option<String>,
    /// The slot that is short.
    pub slot: Option<String>,
    /// How much is in use at present.
    pub used: Option<Value>,
    /// How much the session asks for.
    pub requested: Option<Value>,
    /// How much there may be.
    pub max: Option<Value>,
    /// Who holds it: the ten that hold most, the largest first.
    pub holders: Vec<InTheWay>,
    /// What would let the session in, in words.
    pub remedy: Option<String>,
}

impl FromRow for Explanation {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            session_id: row.try_get("session_id")?,
            status: row.try_get("status")?,
            waiting_since: row.try_get("waiting_since")?,
            tries: row.try_get("tries")?,
            tried_at: row.try_get("tried_at")?,
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            scope: row.try_get("scope")?,
            scope_id: row.try_get("scope_id")?,
            slot: row.try_get("slot")?,
            used: row.try_get("used")?,
            requested: row.try_get("requested")?,
            max: row.try_get("max")?,
            holders: list(row, "holders")?,
            remedy: row.try_get("remedy")?,
        })
    }
}

/// A session that waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueuedSession {
    /// Its id.
    pub session_id: Uuid,
    /// The key that it will be charged to.
    pub access_key: String,
    /// What it is for.
    pub session_type: SessionType,
    /// The user that it will be charged to.
    pub user_id: Option<String>,
    /// The project that it will be charged to.
    pub project: Option<String>,
    /// The domain that it will be charged to.
    pub domain: Option<String>,
    /// The group whose agents it may get.
    pub resource_group: String,
    /// 0 to 100: the higher goes first.
    pub priority: i32,
    /// Since when it waits, by the database's clock.
    pub enqueued_at: Timestamp,
    /// Not before this time.
    pub starts_at: Option<Timestamp>,
    /// Whether its kernels must be together.
    pub cluster_mode: ClusterMode,
    /// What it asks for, all kernels together.
    pub total_slots: ResourceSlots,
    /// How many kernels it has.
    pub kernels: i32,
    /// Sessions that must end with success before.
    pub dependencies: Vec<Uuid>,
    /// How many ticks have looked at it.
    pub tries: i64,
    /// The last of them.
    pub tried_at: Option<Timestamp>,
    /// What was in its way then; `None` before the first.
    pub code: Option<QueueCode>,
    /// Everything that was, with amounts.
    pub violations: Vec<QueueViolation>,
}

impl FromRow for QueuedSession {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            session_id: row.try_get("session_id")?,
            access_key: row.try_get("access_key")?,
            session_type: row.try_get("session_type")?,
            user_id: row.try_get("user_id")?,
            project: row.try_get("project")?,
            domain: row.try_get("domain")?,
            resource_group: row.try_get("resource_group")?,
            priority: row.try_get("priority")?,
            enqueued_at: row.try_get("enqueued_at")?,
            starts_at: row.try_get("starts_at")?,
            cluster_mode: row.try_get("cluster_mode")?,
            total_slots: row.try_get("total_slots")?,
            kernels: row.try_get("kernels")?,
            dependencies: row.try_get("dependencies")?,
            tries: row.try_get("tries")?,
            tried_at: row.try_get("tried_at")?,
            code: row.try_get("code")?,
            violations: list(row, "violations")?,
        })
    }
}

/// The elements of a column that is a JSON array or NULL.
fn list<T>(row: &Row, column: &str) -> Result<Vec<T>, tokio_postgres::Error>
where
    Json<Vec<T>>: FromSqlOwned,
{
    let list: Option<Json<Vec<T>>> = row.try_get(column)?;
    Ok(list.map(|Json(list)| list).unwrap_or_default())
}

rows! {
    /// Answer to a cancellation.
    Cancellation {
        /// The session.
        session_id: Uuid,
        /// What became of it.
        outcome: CancelOutcome,
    }

    /// Answer to a change of state.
    Transition {
        /// The session.
        session_id: Uuid,
        /// What became of the change.
        outcome: TransitionOutcome,
        /// The state that it was in.
        from_status: SessionStatus,
        /// The state that it is in.
        to_status: SessionStatus,
    }

    /// One live kernel: whose it is, and what it occupies since when.
    Holding {
        /// Its session.
        session_id: Uuid,
        /// The key that the session is charged to.
        access_key: String,
        /// What the session is for.
        session_type: SessionType,
        /// Where the session is in its life.
        status: SessionStatus,
        /// The kernel.
        kernel_id: Uuid,
        /// Its agent.
        agent_id: String,
        /// What it occupies there.
        slots: ResourceSlots,
        /// When the session was admitted or enqueued.
        since: Timestamp,
    }

    /// How long a queue is.
    QueueState {
        /// The resource group.
        resource_group: String,
        /// How many sessions wait.
        sessions: i64,
        /// How many of them no tick has looked at yet.
        untried: i64,
        /// Since when the oldest waits.
        oldest_at: Timestamp,
        /// The same as an age in seconds, by the database's clock.
        oldest_seconds: f64,
    }

    /// A change in the state of a session of the queue.
    StatusChange {
        /// The session.
        session_id: Uuid,
        /// When it was.
        changed_at: Timestamp,
        /// The state before; `None`: it was enqueued.
        from_status: Option<SessionStatus>,
        /// The state from then on.
        to_status: SessionStatus,
        /// Why, if somebody said so.
        reason: Option<String>,
    }
}
