//! What is asked of the database functions, and what they answer, as types.
//!
//! A client outlives the schema that it was built for: a word that a later schema adds arrives
//! as `Other`, and a column or member that it adds is not looked at.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::call::FromRow;
use crate::error::Code;
use crate::slots::{Amount, ResourceSlots};

/// Declares an enum of the words that a text column or argument may hold.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(from = "String", into = "String")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A word that this version of the library has no name for.
            Other(String),
        }

        impl $name {
            /// The word as the database writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                Self::from(word.as_str())
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl<'a> tokio_postgres::types::FromSql<'a> for $name {
            fn from_sql(
                ty: &tokio_postgres::types::Type,
                raw: &'a [u8],
            ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
                <&str>::from_sql(ty, raw).map(Self::from)
            }

            tokio_postgres::types::accepts!(TEXT);
        }
    )+};
}

pub(crate) use words;

/// Declares structs whose fields are the columns of a result.
macro_rules! rows {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$doc])* pub $field: $ty,)+
        }

        impl $crate::call::FromRow for $name {
            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?,)+ })
            }
        }
    )+};
}
pub(crate) use rows;

words! {
    /// What a session is for, which decides what it is charged to.
    #[derive(Default)]
    SessionType {
        /// A notebook or a terminal; a compute session.
        #[default]
        Interactive = "interactive",
        /// A job that runs to its end; a compute session.
        Batch = "batch",
        /// A served model; a compute session.
        Inference = "inference",
        /// SFTP and other private sessions: bound by the key's system limit and the agents,
        /// charged to no quota.
        System = "system",
    }

    /// How a reservation was answered.
    AdmissionOutcome {
        /// The session has its slot, its quotas and its agents.
        Admitted = "admitted",
        /// The same reservation was admitted before; nothing was charged a second time.
        AlreadyAdmitted = "already_admitted",
        /// A limit stands in the way; nothing was changed.
        Rejected = "rejected",
        /// In a batch: a caller's mistake; see [`Admission::mistake`].
        Invalid = "invalid",
    }

    /// Which limit or condition rejected a reservation.
    RejectionCode {
        /// The session is terminating or has ended, or was released before it was reserved.
        SessionEnded = "session_ended",
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
        /// The agent is not alive or not schedulable.
        AgentUnavailable = "agent_unavailable",
        /// The agent has too little left.
        AgentCapacity = "agent_capacity",
    }

    /// What became of a release.
    ReleaseOutcome {
        /// It ended now, and everything that it held is free.
        Released = "released",
        /// It had ended before.
        AlreadyReleased = "already_released",
        /// Nobody had reserved it. A session id is remembered: a reservation of it that arrives
        /// later is rejected.
        Unknown = "unknown",
    }

    /// What became of a termination.
    TerminationOutcome {
        /// Slot and quotas are free; the agents stay occupied until each kernel ends.
        Terminating = "terminating",
        /// It was terminating before.
        AlreadyTerminating = "already_terminating",
        /// It had ended before.
        AlreadyReleased = "already_released",
        /// Nobody had reserved it.
        Unknown = "unknown",
    }

    /// What became of a confirmation.
    ConfirmationOutcome {
        /// It runs, and no longer depends on its holder.
        Confirmed = "confirmed",
        /// It was confirmed before, or was reserved without a holder.
        AlreadyConfirmed = "already_confirmed",
        /// It is terminating: it must not run.
        AlreadyTerminating = "already_terminating",
        /// It has ended: it must not run.
        AlreadyReleased = "already_released",
        /// Nobody had reserved it, or that is forgotten.
        Unknown = "unknown",
    }

    /// Whether a heartbeat was in time.
    BeatOutcome {
        /// It was.
        Alive = "alive",
        /// The ttl had run out: what was not confirmed may have been reclaimed meanwhile.
        Recovered = "recovered",
    }

    /// How a start of a manager stands.
    ManagerStatus {
        /// It beats.
        Alive = "ALIVE",
        /// It has been silent for its ttl.
        Suspect = "SUSPECT",
        /// It has been silent for its grace period, too: what it holds may be reclaimed.
        Expired = "EXPIRED",
        /// A newer start has its name.
        Fenced = "FENCED",
    }

    /// How safe a session is that is not confirmed.
    LeaseStatus {
        /// Its holder beats.
        Held = "held",
        /// Its holder is silent or fenced.
        Suspect = "suspect",
        /// It may be reclaimed at any moment.
        Expired = "expired",
    }

    /// What became of a report of really allotted slots.
    SettlementOutcome {
        /// The report is what the kernel occupies now.
        Settled = "settled",
        /// The kernel had ended before.
        AlreadyReleased = "already_released",
    }

    /// What became of an entry in the registry.
    PutOutcome {
        /// It is new.
        Created = "created",
        /// It took the place of the former one.
        Replaced = "replaced",
    }

    /// What became of a removal from the registry.
    DropOutcome {
        /// It is gone.
        Dropped = "dropped",
        /// Something live depends on it; it stays.
        InUse = "in_use",
        /// There was no such entry.
        Unknown = "unknown",
    }

    /// Where a session is in its life. One that was reserved without the queue begins as
    /// `Running`.
    SessionStatus {
        /// It waits in the queue and holds nothing.
        Pending = "PENDING",
        /// A tick has placed it: from here to `Error` it holds its slot, its quotas and its agents.
        Scheduled = "SCHEDULED",
        /// Somebody has taken it on.
        Preparing = "PREPARING",
        /// Its agents fetch images.
        Pulling = "PULLING",
        /// All is there that its kernels need.
        Prepared = "PREPARED",
        /// Its kernels start.
        Creating = "CREATING",
        /// It runs.
        Running = "RUNNING",
        /// Something went wrong; it holds everything until it is released.
        Error = "ERROR",
        /// It holds its agents only, until each kernel ends.
        Terminating = "TERMINATING",
        /// It has ended.
        Terminated = "TERMINATED",
        /// It was taken out of the queue, or released before it was ever reserved.
        Cancelled = "CANCELLED",
    }

    /// The state that an agent reports or is given.
    AgentStatus {
        /// It takes sessions, if it is schedulable.
        Alive = "ALIVE",
        /// Its heartbeats stopped.
        Lost = "LOST",
        /// It is coming back.
        Restarting = "RESTARTING",
        /// It is gone.
        Terminated = "TERMINATED",
    }

    /// Whose use a quota limits.
    Scope {
        /// Every key of one user.
        User = "user",
        /// One project, as named in the reservations.
        Project = "project",
        /// The agents of one resource group.
        ResourceGroup = "resource_group",
        /// Every key of one domain.
        Domain = "domain",
    }

    /// How much of a slot is allowed that a limit does not name.
    DefaultForUnspecified {
        /// None of it.
        Limited = "LIMITED",
        /// Any amount.
        Unlimited = "UNLIMITED",
    }
}

/// A start of a manager, which holds what it reserves until it confirms it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The manager's name.
    pub manager: String,
    /// Which start of it: a later one is higher, and fences it.
    pub epoch: i64,
}

impl FromRow for Holder {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { manager: row.try_get("manager")?, epoch: row.try_get("epoch")? })
    }
}

/// One kernel (container) of a session to reserve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelRequest {
    /// Its id; left out, the database generates one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_id: Option<Uuid>,
    /// The agent that it is to run on.
    pub agent: String,
    /// What it asks of that agent.
    pub slots: ResourceSlots,
}

/// A session to reserve: whose it is, and a kernel on an agent, or several.
///
/// Reserving the same content under the same id again is answered with `already_admitted`, which
/// is how a caller that never got its answer finds out.
///
/// ```
/// use occupancy::{Reservation, ResourceSlots, SessionType};
/// use uuid::Uuid;
///
/// let reservation = Reservation::new(Uuid::now_v7(), "AKIA")
///     .with_type(SessionType::Batch)
///     .with_project("vision")
///     .with_kernel("i-01", ResourceSlots::new().with("cpu", 4).with("mem", "16g"))
///     .with_kernel("i-02", ResourceSlots::new().with("cuda.shares", "0.5"));
/// assert_eq!(reservation.kernels.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a reservation does nothing until it is sent"]
pub struct Reservation {
    /// The caller's id for the session.
    pub session_id: Uuid,
    /// The key that it is charged to.
    pub access_key: String,
    /// Its kernels: at least one, all on agents of one resource group.
    pub kernels: Vec<KernelRequest>,
    /// What it is for.
    #[serde(default)]
    pub session_type: SessionType,
    /// The project that it is charged to, if any.
    #[serde(default)]
    pub project: Option<String>,
}

impl Reservation {
    /// An interactive session of this key, without kernels so far.
    pub fn new(session_id: Uuid, access_key: impl Into<String>) -> Self {
        Self {
            session_id,
            access_key: access_key.into(),
            kernels: Vec::new(),
            session_type: SessionType::default(),
            project: None,
        }
    }

    /// With one more kernel, whose id the database generates.
    pub fn with_kernel(mut self, agent: impl Into<String>, slots: ResourceSlots) -> Self {
        self.kernels.push(KernelRequest { kernel_id: None, agent: agent.into(), slots });
        self
    }

    /// With one more kernel of the caller's own id.
    pub fn with_kernel_id(
        mut self,
        kernel_id: Uuid,
        agent: impl Into<String>,
        slots: ResourceSlots,
    ) -> Self {
        let kernel_id = Some(kernel_id);
        self.kernels.push(KernelRequest { kernel_id, agent: agent.into(), slots });
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
}

/// A kernel with the agent that it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlacedKernel {
    /// Its id, the caller's or generated.
    pub kernel_id: Uuid,
    /// Its agent.
    pub agent: String,
    /// What it occupies there: as requested, or as settled.
    pub slots: ResourceSlots,
    /// When it ended; `None` while it lives, and in an [`Admission`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// One limit or condition that a reservation violates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Violation {
    /// Which one.
    pub code: RejectionCode,
    /// What it belongs to: `keypair`, `agent`, or the scope of a quota.
    #[serde(default)]
    pub scope: Option<String>,
    /// Which key, agent, user, project, … it is.
    #[serde(default)]
    pub scope_id: Option<String>,
    /// The slot that is short; `None` where sessions or kernels are counted.
    #[serde(default)]
    pub slot: Option<String>,
    /// How much is in use at present.
    #[serde(default)]
    pub used: Option<Amount>,
    /// How much the reservation asks for.
    #[serde(default)]
    pub requested: Option<Amount>,
    /// How much there may be; `None` where the condition is no amount.
    #[serde(default)]
    pub max: Option<Amount>,
    /// The same for people.
    #[serde(default)]
    pub message: Option<String>,
}

/// The answer to a reservation. Being full is an answer too: look at
/// [`is_admitted`](Self::is_admitted).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use = "a reservation may have been rejected"]
#[non_exhaustive]
pub struct Admission {
    /// The session; `None` where an element of a batch had no readable one.
    pub session_id: Option<Uuid>,
    /// What was decided.
    pub outcome: AdmissionOutcome,
    /// Why it was rejected: the code of the first violation.
    pub code: Option<RejectionCode>,
    /// The same for people.
    pub message: Option<String>,
    /// The key that was asked for.
    pub access_key: Option<String>,
    /// How many sessions of that class the key runs now.
    pub used: Option<i64>,
    /// How many it may run; `None` is unlimited.
    pub max: Option<i64>,
    /// What stood in the way, with amounts.
    pub violations: Vec<Violation>,
    /// The kernels of an admitted session, generated ids included.
    pub kernels: Vec<PlacedKernel>,
}

impl Admission {
    /// Whether the session has its place, be it by this call or by an earlier one.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        matches!(self.outcome, AdmissionOutcome::Admitted | AdmissionOutcome::AlreadyAdmitted)
    }

    /// The caller's mistake in an element of a batch whose outcome is
    /// [`Invalid`](AdmissionOutcome::Invalid). A single reservation fails with it instead.
    #[must_use]
    pub fn mistake(&self) -> Option<Code> {
        Code::from_sqlstate(self.code.as_ref()?.as_str())
    }
}

impl FromRow for Admission {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let violations: Option<Json<_>> = row.try_get("violations")?;
        let kernels: Option<Json<_>> = row.try_get("kernels")?;
        Ok(Self {
            session_id: row.try_get("session_id")?,
            outcome: row.try_get("outcome")?,
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            access_key: row.try_get("access_key")?,
            used: row.try_get("used")?,
            max: row.try_get("max")?,
            violations: violations.map(|Json(list)| list).unwrap_or_default(),
            kernels: kernels.map(|Json(list)| list).unwrap_or_default(),
        })
    }
}

/// A session, live or remembered, with its kernels.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Session {
    /// Its id.
    pub session_id: Uuid,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// The key that it is charged to; like the scopes below `None` for an id that was released
    /// before it was reserved.
    pub access_key: Option<String>,
    /// What it is for.
    pub session_type: Option<SessionType>,
    /// The user that it is charged to.
    pub user_id: Option<String>,
    /// The project that it is charged to.
    pub project: Option<String>,
    /// The resource group of its agents.
    pub resource_group: Option<String>,
    /// The domain that it is charged to.
    pub domain: Option<String>,
    /// Its kernels, the ended ones included.
    pub kernels: Vec<PlacedKernel>,
    /// When it was admitted, by the database's clock like the times below.
    pub created_at: Timestamp,
    /// When its termination began.
    pub terminating_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl FromRow for Session {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let kernels: Option<Json<_>> = row.try_get("kernels")?;
        Ok(Self {
            session_id: row.try_get("session_id")?,
            status: row.try_get("status")?,
            access_key: row.try_get("access_key")?,
            session_type: row.try_get("session_type")?,
            user_id: row.try_get("user_id")?,
            project: row.try_get("project")?,
            resource_group: row.try_get("resource_group")?,
            domain: row.try_get("domain")?,
            kernels: kernels.map(|Json(list)| list).unwrap_or_default(),
            created_at: row.try_get("created_at")?,
            terminating_at: row.try_get("terminating_at")?,
            ended_at: row.try_get("ended_at")?,
        })
    }
}

rows! {
    /// Answer to a heartbeat of a manager.
    Beat {
        /// The manager's name.
        manager: String,
        /// Which start of it.
        epoch: i64,
        /// Whether it was in time.
        outcome: BeatOutcome,
    }

    /// Answer to a confirmation.
    #[must_use = "what is not confirmed must not run"]
    Confirmation {
        /// The session.
        session_id: Uuid,
        /// What became of it.
        outcome: ConfirmationOutcome,
    }

    /// A session that was freed because its holder died.
    Reclamation {
        /// The session.
        session_id: Uuid,
        /// The manager that had held it.
        manager: String,
        /// Which start of it.
        epoch: i64,
    }

    /// A start of a manager.
    ManagerStart {
        /// The manager's name.
        manager: String,
        /// Which start of it.
        epoch: i64,
        /// How it stands, by the database's clock.
        status: ManagerStatus,
        /// Silent for so long, it is suspect.
        ttl_seconds: f64,
        /// Silent for so long beyond that, what it holds may be reclaimed.
        grace_seconds: f64,
        /// When it started.
        registered_at: Timestamp,
        /// Its last beat.
        beat_at: Timestamp,
        /// When a newer start took its name.
        fenced_at: Option<Timestamp>,
        /// How many sessions it holds, unconfirmed.
        sessions: i64,
    }

    /// A session that is not confirmed.
    LeasedSession {
        /// The session.
        session_id: Uuid,
        /// Where it is in its life.
        status: SessionStatus,
        /// The key that it is charged to.
        access_key: String,
        /// The manager that holds it; `None` if somebody deleted it.
        manager: Option<String>,
        /// Which start of it.
        epoch: i64,
        /// How safe it is.
        state: LeaseStatus,
        /// When it was reserved.
        created_at: Timestamp,
        /// Since when, or from when on, its holder is suspect.
        suspect_at: Option<Timestamp>,
        /// From when on it may be reclaimed.
        expires_at: Option<Timestamp>,
    }

    /// An agent whose heartbeats stopped.
    LostAgent {
        /// The agent.
        agent_id: String,
        /// Its last heartbeat.
        heartbeat_at: Timestamp,
    }

    /// One condition of an admission, as it stands at present.
    Predicate {
        /// Which condition.
        predicate: String,
        /// Whether it holds.
        passed: bool,
        /// The code that a rejection would carry.
        code: Option<RejectionCode>,
        /// The same for people.
        message: Option<String>,
        /// What it belongs to: `keypair`, `agent`, or the scope of a quota.
        scope: Option<String>,
        /// Which key, agent, user, project, … it is.
        scope_id: Option<String>,
        /// What is in use: a number of sessions or kernels, or an object of slots.
        used: Option<Value>,
        /// What is asked for, in the same shape.
        requested: Option<Value>,
        /// What is allowed, in the same shape; `None` is unlimited, or no amount.
        max: Option<Value>,
    }

    /// The answer to a release of a session.
    Release {
        /// The session.
        session_id: Option<Uuid>,
        /// What became of it.
        outcome: ReleaseOutcome,
    }

    /// The answer to a release of a kernel.
    KernelRelease {
        /// The kernel.
        kernel_id: Uuid,
        /// Its session; `None` for an unknown kernel.
        session_id: Option<Uuid>,
        /// What became of it.
        outcome: ReleaseOutcome,
        /// Whether it was the last one, so that the session has ended with it.
        session_ended: Option<bool>,
    }

    /// The answer to a termination.
    Termination {
        /// The session.
        session_id: Uuid,
        /// What became of it.
        outcome: TerminationOutcome,
    }

    /// The answer to a report of really allotted slots.
    Settlement {
        /// The kernel.
        kernel_id: Uuid,
        /// Its session.
        session_id: Option<Uuid>,
        /// What became of the report.
        outcome: SettlementOutcome,
    }

    /// How many sessions a key runs, and how many it may.
    Concurrency {
        /// The key.
        access_key: String,
        /// Compute sessions that hold a slot.
        compute_used: i64,
        /// The limit of compute sessions; `None` is unlimited.
        compute_max: Option<i64>,
        /// System sessions that hold a slot.
        system_used: i64,
        /// The limit of system sessions; `None` is unlimited.
        system_max: Option<i64>,
    }

    /// One number that a recalculation set right.
    Correction {
        /// What was wrong.
        subject: String,
        /// What it said.
        before: Option<Value>,
        /// What it says now.
        after: Option<Value>,
    }

    /// One broken invariant.
    Finding {
        /// Which invariant.
        invariant: String,
        /// Where it is broken.
        subject: String,
        /// What the ledger proves.
        expected: Option<String>,
        /// What is stored.
        actual: Option<String>,
        /// The SQL that mends it; more than a `select` where somebody has to supply what was lost.
        remedy: Option<String>,
    }

    /// An agent with its capacity and what is taken of it.
    AgentOccupancy {
        /// The agent.
        agent_id: String,
        /// The group that it belongs to.
        resource_group: String,
        /// Its state.
        status: AgentStatus,
        /// Whether it may be given new sessions.
        schedulable: bool,
        /// Its capacity.
        available_slots: ResourceSlots,
        /// What its live kernels occupy.
        occupied_slots: ResourceSlots,
    }
}

rows! {
    /// A key with what its sessions take and what bounds them.
    KeyConcurrency {
        /// The key.
        access_key: String,
        /// Whose it is.
        user_id: String,
        /// The domain that its sessions are charged to, if any.
        domain: Option<String>,
        /// The policy that binds it.
        resource_policy: String,
        /// Whether it may reserve.
        is_active: bool,
        /// Compute sessions that hold a slot.
        compute_used: i64,
        /// The limit of compute sessions; `None` is unlimited.
        compute_max: Option<i64>,
        /// System sessions that hold a slot.
        system_used: i64,
        /// The limit of system sessions; `None` is unlimited.
        system_max: Option<i64>,
        /// What its active compute sessions occupy.
        occupied_slots: ResourceSlots,
        /// How much of each slot they may take together; `None` is unlimited.
        total_resource_slots: Option<ResourceSlots>,
        /// What holds for a slot that `total_resource_slots` does not name.
        default_for_unspecified: DefaultForUnspecified,
    }

    /// A quota with what is charged to it.
    QuotaUse {
        /// The kind of scope.
        scope: Scope,
        /// Which user, project, resource group or domain.
        scope_id: String,
        /// Compute sessions charged to it.
        used: i64,
        /// How many there may be; `None` is unlimited.
        max_concurrent_sessions: Option<i64>,
        /// What they occupy.
        occupied_slots: ResourceSlots,
        /// How much of each slot they may take together; `None` is unlimited.
        total_resource_slots: Option<ResourceSlots>,
        /// What holds for a slot that `total_resource_slots` does not name.
        default_for_unspecified: DefaultForUnspecified,
    }

    /// A session that lives.
    LiveSession {
        /// Its id.
        session_id: Uuid,
        /// Running or terminating.
        status: SessionStatus,
        /// The key that it is charged to.
        access_key: String,
        /// What it is for.
        session_type: SessionType,
        /// The user that it is charged to.
        user_id: Option<String>,
        /// The project that it is charged to.
        project: Option<String>,
        /// The resource group of its agents.
        resource_group: Option<String>,
        /// The domain that it is charged to.
        domain: Option<String>,
        /// When it was admitted.
        created_at: Timestamp,
        /// When its termination began.
        terminating_at: Option<Timestamp>,
        /// How many of its kernels have not ended.
        live_kernels: i64,
    }

    /// A kernel that lives.
    LiveKernel {
        /// Its id.
        kernel_id: Uuid,
        /// Its session.
        session_id: Uuid,
        /// The agent that it runs on.
        agent_id: String,
        /// What was requested for it.
        requested_slots: ResourceSlots,
        /// What it occupies: as requested, or as settled.
        occupied_slots: ResourceSlots,
        /// The key that its session is charged to.
        access_key: String,
        /// Whether its session is running or terminating.
        status: SessionStatus,
        /// When its session was admitted.
        created_at: Timestamp,
    }
}

impl FromRow for ResourcePolicy {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            max_concurrent_sessions: row.try_get("max_concurrent_sessions")?,
            max_concurrent_system_sessions: row.try_get("max_concurrent_system_sessions")?,
            total_resource_slots: row.try_get("total_resource_slots")?,
            default_for_unspecified: row.try_get("default_for_unspecified")?,
            max_pending_sessions: row.try_get("max_pending_sessions")?,
            max_pending_resource_slots: row.try_get("max_pending_resource_slots")?,
            max_kernels_per_session: row.try_get("max_kernels_per_session")?,
        })
    }
}

impl FromRow for PutOutcome {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        row.try_get("outcome")
    }
}

impl FromRow for DropOutcome {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        row.try_get("outcome")
    }
}

/// Limits that keypairs share. Of each, `None` is unlimited and 0 is none at all.
///
/// ```
/// use occupancy::{ResourcePolicy, ResourceSlots};
///
/// let policy = ResourcePolicy {
///     max_concurrent_sessions: Some(10),
///     total_resource_slots: Some(ResourceSlots::new().with("cpu", 64).with("mem", "Infinity")),
///     ..ResourcePolicy::new("student")
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcePolicy {
    /// Its name.
    pub name: String,
    /// How many compute sessions a key may run at once.
    pub max_concurrent_sessions: Option<i64>,
    /// How many system sessions a key may run at once.
    pub max_concurrent_system_sessions: Option<i64>,
    /// How much of each slot a key's sessions may take together.
    pub total_resource_slots: Option<ResourceSlots>,
    /// What holds for a slot that `total_resource_slots` does not name.
    pub default_for_unspecified: DefaultForUnspecified,
    /// How many sessions of a key may wait.
    pub max_pending_sessions: Option<i64>,
    /// How much of each slot a key's waiting sessions may ask for together.
    pub max_pending_resource_slots: Option<ResourceSlots>,
    /// How many kernels one session may have.
    pub max_kernels_per_session: Option<i64>,
}

impl ResourcePolicy {
    /// A policy that limits nothing, and that would limit slots it does not name to none as
    /// soon as `total_resource_slots` is set.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            max_concurrent_sessions: None,
            max_concurrent_system_sessions: None,
            total_resource_slots: None,
            default_for_unspecified: DefaultForUnspecified::Limited,
            max_pending_sessions: None,
            max_pending_resource_slots: None,
            max_kernels_per_session: None,
        }
    }
}

/// An access key of a user, bound by a resource policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keypair {
    /// The key.
    pub access_key: String,
    /// Whose it is.
    pub user_id: String,
    /// The policy that binds it.
    pub resource_policy: String,
    /// Whether it may reserve.
    pub is_active: bool,
    /// The domain that its sessions are charged to, if any.
    pub domain: Option<String>,
}

impl Keypair {
    /// An active key outside any domain.
    #[must_use]
    pub fn new(
        access_key: impl Into<String>,
        user_id: impl Into<String>,
        resource_policy: impl Into<String>,
    ) -> Self {
        Self {
            access_key: access_key.into(),
            user_id: user_id.into(),
            resource_policy: resource_policy.into(),
            is_active: true,
            domain: None,
        }
    }
}

/// Limits for everybody in one scope. Of each, `None` is unlimited and 0 is none at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// The kind of scope.
    pub scope: Scope,
    /// Which user, project, resource group or domain.
    pub scope_id: String,
    /// How many compute sessions may run at once.
    pub max_concurrent_sessions: Option<i64>,
    /// How much of each slot they may take together.
    pub total_resource_slots: Option<ResourceSlots>,
    /// What holds for a slot that `total_resource_slots` does not name.
    pub default_for_unspecified: DefaultForUnspecified,
}

impl Quota {
    /// A quota that limits nothing so far.
    #[must_use]
    pub fn new(scope: Scope, scope_id: impl Into<String>) -> Self {
        Self {
            scope,
            scope_id: scope_id.into(),
            max_concurrent_sessions: None,
            total_resource_slots: None,
            default_for_unspecified: DefaultForUnspecified::Unlimited,
        }
    }
}

/// What an agent reports about itself, or an operator sets. `None` keeps the stored value; the
/// values of a new agent are in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The agent.
    pub agent_id: String,
    /// Its capacity, which may shrink below what is occupied (a new agent must state it).
    pub available_slots: Option<ResourceSlots>,
    /// The group that it belongs to (`default`).
    pub resource_group: Option<String>,
    /// Its state; `None` means [`AgentStatus::Alive`] here.
    pub status: Option<AgentStatus>,
    /// Whether it may be given new sessions (true). `Some(false)` drains it, and no later
    /// heartbeat with `None` undoes that.
    pub schedulable: Option<bool>,
}

impl Heartbeat {
    /// A sign of life that changes nothing else.
    #[must_use]
    pub fn new(agent_id: impl Into<String>) -> Self {
        Self {
            agent_id: agent_id.into(),
            available_slots: None,
            resource_group: None,
            status: None,
            schedulable: None,
        }
    }
}
