//! Sessions and what they hold.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::call::{self, Executor, Within};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::model::{
    Admission, Beat, Concurrency, Confirmation, Correction, DropOutcome, Finding, Holder,
    KernelRelease, KeyConcurrency, Keypair, LeasedSession, LiveSession, ManagerStart, Predicate,
    PutOutcome, Quota, QuotaUse, Reclamation, Release, Reservation, ResourcePolicy, Scope, Session,
    Settlement, Termination,
};
use crate::pool::Pooled;
use crate::slots::ResourceSlots;
use crate::statements as sql;

/// Reserves and releases sessions, counts and repairs, and sets the limits that bind them: a
/// method per database function.
///
/// From [`Handles`](crate::Handles) it runs each call in a transaction of its own and repeats it
/// after a transient error. [`within`](Self::within) has the same methods on a transaction of
/// the caller, so that a reservation and the caller's own rows are committed together or not at
/// all:
///
/// ```no_run
/// # use occupancy::{Config, ConcurrencyTracker, Reservation};
/// # async fn example(
/// #     config: &Config,
/// #     tracker: &ConcurrencyTracker,
/// #     reservation: &Reservation,
/// # ) -> occupancy::Result<()> {
/// let mut client = config.connect().await?;
/// let transaction = client.transaction().await?;
/// let admission = tracker.within(&transaction).reserve_session(reservation).await?;
/// if admission.is_admitted() {
///     transaction
///         .execute("insert into jobs (session_id) values ($1)", &[&reservation.session_id])
///         .await?;
///     transaction.commit().await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// The pooled form holds what it reserves (see [`Lease`]): confirm a session once it runs, or it is
/// freed some time after this process died. It speaks as this holder when it ends a session, too,
/// so that a process that was fenced meanwhile ends nothing (`OC009`), nor does anybody end what
/// another process holds and has not confirmed. [`unleased`](Self::unleased) does without all that.
///
/// Dropping the future of a call does not take the call back: it may have happened. Calling
/// again with the same ids tells.
///
/// # Errors
/// Every method fails alike: with [`ErrorKind::Refused`](crate::ErrorKind::Refused) and a
/// [`Code`](crate::Code) for a caller's mistake, with `Connection` or `Exhausted` when no server
/// or no connection could be had, and with `Database` for whatever else the server answers.
/// A call that failed changed nothing, unless its answer was lost on the way: `Connection` after
/// all retries leaves that open, and calling again with the same ids settles it.
#[derive(Clone, Debug)]
pub struct ConcurrencyTracker<E = Pooled> {
    pub(crate) executor: E,
    speaker: Speaker,
}

/// As whom calls are made.
#[derive(Clone, Debug)]
enum Speaker {
    Nobody,
    Holder(Arc<Holder>),
    Lease(Lease),
}

impl Speaker {
    /// Whoever is to hold a reservation.
    async fn holder(&self) -> Result<Option<Arc<Holder>>> {
        match self {
            Self::Lease(lease) => lease.holder().await.map(Some),
            Self::Nobody | Self::Holder(_) => Ok(self.present()),
        }
    }

    /// Whoever is registered so far.
    fn present(&self) -> Option<Arc<Holder>> {
        match self {
            Self::Nobody => None,
            Self::Holder(holder) => Some(Arc::clone(holder)),
            Self::Lease(lease) => lease.current(),
        }
    }
}

/// One reservation of a batch, in the name of its holder.
#[derive(Debug, Serialize)]
struct Element<'a> {
    #[serde(flatten)]
    reservation: &'a Reservation,
    #[serde(skip_serializing_if = "Option::is_none")]
    manager: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<i64>,
}

/// A holder as the two arguments that name it.
fn named(holder: Option<&Arc<Holder>>) -> (Option<&str>, Option<i64>) {
    holder.map_or((None, None), |holder| (Some(holder.manager.as_str()), Some(holder.epoch)))
}

impl<'a, C: GenericClient + Sync> ConcurrencyTracker<Within<'a, C>> {
    /// The methods on a connection outside any pool.
    pub(crate) fn on(client: &'a C) -> Self {
        Self::new(Within(client))
    }
}

#[allow(clippy::missing_errors_doc, reason = "every method fails as the type's page says")]
impl<E: Executor> ConcurrencyTracker<E> {
    pub(crate) fn new(executor: E) -> Self {
        Self { executor, speaker: Speaker::Nobody }
    }

    pub(crate) fn leased(self, lease: Lease) -> Self {
        Self { speaker: Speaker::Lease(lease), ..self }
    }

    /// The same methods without a holder: what it reserves is nobody's and lives until it is
    /// released; and it ends sessions whoever holds them, as an operator does.
    #[must_use]
    pub fn unleased(self) -> Self {
        Self { speaker: Speaker::Nobody, ..self }
    }

    /// The same methods in the name of a holder whose heartbeat somebody else keeps.
    #[must_use]
    pub fn held_by(self, holder: Holder) -> Self {
        Self { speaker: Speaker::Holder(Arc::new(holder)), ..self }
    }

    /// The same methods on the caller's transaction or connection, without retries. The locks
    /// that a call takes are held until the transaction ends: end it soon.
    #[must_use]
    pub fn within<'a, C>(&self, client: &'a C) -> ConcurrencyTracker<Within<'a, C>>
    where
        C: GenericClient + Sync,
    {
        ConcurrencyTracker { executor: Within(client), speaker: self.speaker.clone() }
    }

    /// Evaluates every condition of an admission and changes nothing. It promises nothing
    /// either: somebody else may reserve a moment later.
    pub async fn check_session(&self, reservation: &Reservation) -> Result<Vec<Predicate>> {
        let Reservation { session_id, access_key, kernels, session_type, project } = reservation;
        call::all(
            &self.executor,
            &sql::check_session,
            &[session_id, access_key, &Json(kernels), &session_type.as_str(), project],
        )
        .await
    }

    /// Takes the key's concurrency slot, charges every quota and occupies every agent, or does
    /// none of it. A repeated call, also one that the pool repeated because an answer was lost,
    /// is answered with `already_admitted` and the same kernels.
    pub async fn reserve_session(&self, reservation: &Reservation) -> Result<Admission> {
        let Reservation { session_id, access_key, kernels, session_type, project } = reservation;
        let kernels = Json(kernels);
        let session_type = session_type.as_str();
        let holder = self.speaker.holder().await?;
        let (manager, epoch) = named(holder.as_ref());
        call::one(
            &self.executor,
            &sql::reserve_session,
            &[session_id, access_key, &kernels, &session_type, project, &manager, &epoch],
        )
        .await
    }

    /// Reserves a batch in one transaction, with the decisions of one call each in this order
    /// and an answer each in the same order. A rejected or mistaken element stops no other.
    pub async fn reserve_sessions(&self, reservations: &[Reservation]) -> Result<Vec<Admission>> {
        let holder = self.speaker.holder().await?;
        let (manager, epoch) = named(holder.as_ref());
        let held = |reservation| Element { reservation, manager, epoch };
        let elements: Vec<_> = reservations.iter().map(held).collect();
        call::all(&self.executor, &sql::reserve_sessions, &[&Json(elements)]).await
    }

    /// Ends the session and frees, once, all that it holds. A reservation of the same id that
    /// arrives later is rejected with `session_ended`.
    pub async fn release_session(&self, session_id: Uuid) -> Result<Release> {
        let holder = self.speaker.present();
        let (manager, epoch) = named(holder.as_ref());
        call::one(&self.executor, &sql::release_session, &[&session_id, &manager, &epoch]).await
    }

    /// Ends a batch of sessions in one transaction, with an answer each in the same order.
    pub async fn release_sessions(&self, session_ids: &[Uuid]) -> Result<Vec<Release>> {
        let holder = self.speaker.present();
        let (manager, epoch) = named(holder.as_ref());
        call::all(&self.executor, &sql::release_sessions, &[&session_ids, &manager, &epoch]).await
    }

    /// Ends one kernel and frees its share; the last kernel ends the session.
    pub async fn release_kernel(&self, kernel_id: Uuid) -> Result<KernelRelease> {
        let holder = self.speaker.present();
        let (manager, epoch) = named(holder.as_ref());
        call::one(&self.executor, &sql::release_kernel, &[&kernel_id, &manager, &epoch]).await
    }

    /// Gives back slot and quotas at once; the agents stay occupied until each kernel ends.
    pub async fn terminate_session(&self, session_id: Uuid) -> Result<Termination> {
        let holder = self.speaker.present();
        let (manager, epoch) = named(holder.as_ref());
        call::one(&self.executor, &sql::terminate_session, &[&session_id, &manager, &epoch]).await
    }

    /// Replaces what was requested for a kernel by what its agent really allotted. Never
    /// refused for a limit; an unknown kernel is
    /// [`UnknownSessionOrKernel`](crate::Code::UnknownSessionOrKernel).
    pub async fn settle_kernel(
        &self,
        kernel_id: Uuid,
        occupied_slots: &ResourceSlots,
    ) -> Result<Settlement> {
        let holder = self.speaker.present();
        let (manager, epoch) = named(holder.as_ref());
        call::one(
            &self.executor,
            &sql::settle_kernel,
            &[&kernel_id, &Json(occupied_slots), &manager, &epoch],
        )
        .await
    }

    /// The session runs: from now on it lives until it is released, whatever becomes of this
    /// process. Only `confirmed` and `already_confirmed` mean that it may run;
    /// [`Fenced`](crate::Code::Fenced) that it was reclaimed, or that somebody else holds it.
    pub async fn confirm_session(&self, session_id: Uuid) -> Result<Confirmation> {
        let holder = match self.speaker.present() {
            Some(holder) => Some(holder),
            None => self.speaker.holder().await?,
        };
        let holder = holder.ok_or_else(|| {
            Error::new(ErrorKind::Config, "a tracker without a lease confirms nothing")
                .hint("what it reserves needs no confirmation")
        })?;
        let Holder { manager, epoch } = &*holder;
        call::one(&self.executor, &sql::confirm_session, &[&session_id, manager, epoch]).await
    }

    /// Registers a start of a manager, which fences earlier ones of the same name. The pooled form
    /// does that by itself; whoever does it by hand has to keep the heartbeat, and speaks as the
    /// holder through [`held_by`](Self::held_by). `ttl` is 1 s to a day, `grace` up to a day and
    /// without it as long as `ttl`.
    pub async fn register_manager(
        &self,
        manager: &str,
        ttl: Duration,
        grace: Option<Duration>,
    ) -> Result<Holder> {
        let grace = grace.unwrap_or(ttl).as_secs_f64();
        call::one(&self.executor, &sql::register_manager, &[&manager, &ttl.as_secs_f64(), &grace])
            .await
    }

    /// The manager lives: what it holds is held, also if it was suspect, as long as it was not
    /// reclaimed.
    pub async fn heartbeat_manager(&self, holder: &Holder) -> Result<Beat> {
        let Holder { manager, epoch } = holder;
        call::one(&self.executor, &sql::heartbeat_manager, &[manager, epoch]).await
    }

    /// Frees sessions whose manager died before it confirmed them, each once and at most so many
    /// (1 to 10,000). A call that the pool repeated lists only what its lost predecessor left.
    pub async fn reclaim_expired(&self, max_sessions: i64) -> Result<Vec<Reclamation>> {
        call::all(&self.executor, &sql::reclaim_expired, &[&max_sessions]).await
    }

    /// Forgets starts of managers that hold nothing and have been dead for longer than this, a
    /// bounded number per call, and returns how many those were.
    pub async fn prune_managers(&self, older_than: Duration) -> Result<i64> {
        call::one(&self.executor, &sql::prune_managers, &[&older_than.as_secs_f64()]).await
    }

    /// Every start of a manager that is remembered, by name and epoch.
    pub async fn managers(&self) -> Result<Vec<ManagerStart>> {
        call::all(&self.executor, &sql::managers, &[]).await
    }

    /// Every session that is not confirmed, and who holds it; the next to expire first.
    pub async fn leases(&self) -> Result<Vec<LeasedSession>> {
        call::all(&self.executor, &sql::leases, &[]).await
    }

    /// Ends every session of the key, for purging a user, and returns how many those were. A
    /// call that the pool repeated counts what its lost predecessor left.
    pub async fn clear_concurrency(&self, access_key: &str) -> Result<i64> {
        call::one(&self.executor, &sql::clear_concurrency, &[&access_key]).await
    }

    /// Forgets sessions that ended longer ago than this, a bounded number per call, and returns
    /// how many those were; call again until it is 0. A call that the pool repeated counts what
    /// its lost predecessor left.
    pub async fn prune_ended(&self, older_than: Duration) -> Result<i64> {
        call::one(&self.executor, &sql::prune_ended, &[&older_than.as_secs_f64()]).await
    }

    /// How many sessions the key runs, and how many it may.
    pub async fn get_concurrency(&self, access_key: &str) -> Result<Concurrency> {
        call::one(&self.executor, &sql::get_concurrency, &[&access_key]).await
    }

    /// Every key with its use and its limits, by key.
    pub async fn concurrency(&self) -> Result<Vec<KeyConcurrency>> {
        call::all(&self.executor, &sql::concurrency, &[]).await
    }

    /// The key's sessions that live, the oldest first.
    pub async fn sessions(&self, access_key: &str) -> Result<Vec<LiveSession>> {
        call::all(&self.executor, &sql::sessions, &[&access_key]).await
    }

    /// Every quota with its use, by scope and id.
    pub async fn quotas(&self) -> Result<Vec<QuotaUse>> {
        call::all(&self.executor, &sql::quotas, &[]).await
    }

    /// Every resource policy, by name.
    pub async fn resource_policies(&self) -> Result<Vec<ResourcePolicy>> {
        call::all(&self.executor, &sql::resource_policies, &[]).await
    }

    /// The session with its kernels, live or remembered; `None` for an id never heard of.
    pub async fn get_session(&self, session_id: Uuid) -> Result<Option<Session>> {
        call::first(&self.executor, &sql::get_session, &[&session_id]).await
    }

    /// Recounts one key from its live sessions. Safe while others reserve and release. A call
    /// that the pool repeated lists only what its lost predecessor left, here and below.
    pub async fn recalc_concurrency(&self, access_key: &str) -> Result<Vec<Correction>> {
        call::all(&self.executor, &sql::recalc_concurrency, &[&access_key]).await
    }

    /// Recounts every key: scans everything.
    pub async fn recalc_concurrency_fullscan(&self) -> Result<Vec<Correction>> {
        call::all(&self.executor, &sql::recalc_concurrency_fullscan, &[]).await
    }

    /// Recounts one quota from the live sessions charged to it.
    pub async fn recalc_quota(&self, scope: &Scope, scope_id: &str) -> Result<Vec<Correction>> {
        call::all(&self.executor, &sql::recalc_quota, &[&scope.as_str(), &scope_id]).await
    }

    /// Recounts every quota: scans everything.
    pub async fn recalc_quotas_fullscan(&self) -> Result<Vec<Correction>> {
        call::all(&self.executor, &sql::recalc_quotas_fullscan, &[]).await
    }

    /// Proves every stored number against the ledger in one consistent snapshot, and changes
    /// nothing. No finding means sound.
    pub async fn audit(&self) -> Result<Vec<Finding>> {
        call::all(&self.executor, &sql::audit, &[]).await
    }

    /// Creates or replaces a resource policy. It binds every call that begins after this one;
    /// lowering a limit below use evicts nobody.
    pub async fn put_resource_policy(&self, policy: &ResourcePolicy) -> Result<PutOutcome> {
        call::one(
            &self.executor,
            &sql::put_resource_policy,
            &[
                &policy.name,
                &policy.max_concurrent_sessions,
                &policy.max_concurrent_system_sessions,
                &policy.total_resource_slots.as_ref().map(Json),
                &policy.default_for_unspecified.as_str(),
                &policy.max_pending_sessions,
                &policy.max_pending_resource_slots.as_ref().map(Json),
                &policy.max_kernels_per_session,
            ],
        )
        .await
    }

    /// Removes a resource policy that no keypair uses.
    pub async fn drop_resource_policy(&self, name: &str) -> Result<DropOutcome> {
        call::one(&self.executor, &sql::drop_resource_policy, &[&name]).await
    }

    /// Registers a keypair or replaces it.
    pub async fn put_keypair(&self, keypair: &Keypair) -> Result<PutOutcome> {
        let Keypair { access_key, user_id, resource_policy, is_active, domain } = keypair;
        call::one(
            &self.executor,
            &sql::put_keypair,
            &[access_key, user_id, resource_policy, is_active, domain],
        )
        .await
    }

    /// Removes a keypair that runs no session.
    pub async fn drop_keypair(&self, access_key: &str) -> Result<DropOutcome> {
        call::one(&self.executor, &sql::drop_keypair, &[&access_key]).await
    }

    /// Creates or replaces a quota. One that is created while sessions live counts them all.
    pub async fn put_quota(&self, quota: &Quota) -> Result<PutOutcome> {
        call::one(
            &self.executor,
            &sql::put_quota,
            &[
                &quota.scope.as_str(),
                &quota.scope_id,
                &quota.max_concurrent_sessions,
                &quota.total_resource_slots.as_ref().map(Json),
                &quota.default_for_unspecified.as_str(),
            ],
        )
        .await
    }

    /// Removes a quota.
    pub async fn drop_quota(&self, scope: &Scope, scope_id: &str) -> Result<DropOutcome> {
        call::one(&self.executor, &sql::drop_quota, &[&scope.as_str(), &scope_id]).await
    }
}
