//! Sessions and what they hold.

use std::time::Duration;

use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::call::{self, Executor, Within};
use crate::error::Result;
use crate::model::{
    Admission, Concurrency, Correction, DropOutcome, Finding, KernelRelease, KeyConcurrency,
    Keypair, LiveSession, Predicate, PutOutcome, Quota, QuotaUse, Release, Reservation,
    ResourcePolicy, Scope, Session, Settlement, Termination,
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
}

#[allow(clippy::missing_errors_doc, reason = "every method fails as the type's page says")]
impl<E: Executor> ConcurrencyTracker<E> {
    pub(crate) fn new(executor: E) -> Self {
        Self { executor }
    }

    /// The same methods on the caller's transaction or connection, without retries. The locks
    /// that a call takes are held until the transaction ends: end it soon.
    #[must_use]
    pub fn within<'a, C>(&self, client: &'a C) -> ConcurrencyTracker<Within<'a, C>>
    where
        C: GenericClient + Sync,
    {
        ConcurrencyTracker::new(Within(client))
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
        call::one(
            &self.executor,
            &sql::reserve_session,
            &[session_id, access_key, &Json(kernels), &session_type.as_str(), project],
        )
        .await
    }

    /// Reserves a batch in one transaction, with the decisions of one call each in this order
    /// and an answer each in the same order. A rejected or mistaken element stops no other.
    pub async fn reserve_sessions(&self, reservations: &[Reservation]) -> Result<Vec<Admission>> {
        call::all(&self.executor, &sql::reserve_sessions, &[&Json(reservations)]).await
    }

    /// Ends the session and frees, once, all that it holds. A reservation of the same id that
    /// arrives later is rejected with `session_ended`.
    pub async fn release_session(&self, session_id: Uuid) -> Result<Release> {
        call::one(&self.executor, &sql::release_session, &[&session_id]).await
    }

    /// Ends a batch of sessions in one transaction, with an answer each in the same order.
    pub async fn release_sessions(&self, session_ids: &[Uuid]) -> Result<Vec<Release>> {
        call::all(&self.executor, &sql::release_sessions, &[&session_ids]).await
    }

    /// Ends one kernel and frees its share; the last kernel ends the session.
    pub async fn release_kernel(&self, kernel_id: Uuid) -> Result<KernelRelease> {
        call::one(&self.executor, &sql::release_kernel, &[&kernel_id]).await
    }

    /// Gives back slot and quotas at once; the agents stay occupied until each kernel ends.
    pub async fn terminate_session(&self, session_id: Uuid) -> Result<Termination> {
        call::one(&self.executor, &sql::terminate_session, &[&session_id]).await
    }

    /// Replaces what was requested for a kernel by what its agent really allotted. Never
    /// refused for a limit; an unknown kernel is
    /// [`UnknownSessionOrKernel`](crate::Code::UnknownSessionOrKernel).
    pub async fn settle_kernel(
        &self,
        kernel_id: Uuid,
        occupied_slots: &ResourceSlots,
    ) -> Result<Settlement> {
        call::one(&self.executor, &sql::settle_kernel, &[&kernel_id, &Json(occupied_slots)]).await
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
