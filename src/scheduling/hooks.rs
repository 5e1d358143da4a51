//! What an embedding process does around a tick.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::model::{Scheduling, Tick};
use super::scheduler::Cause;
use crate::error::Result;

/// What a [`Scheduler`](super::Scheduler) calls around each tick; `()` does nothing.
///
/// The next tick waits until a hook is done, and so does [`Scheduler::stop`](super::Scheduler::stop):
/// what takes long belongs into a task of its own. A hook that panics is noted in the metrics and
/// the log; the scheduler goes on.
pub trait Hooks: Send + Sync + 'static {
    /// Before the tick is sent.
    fn before_tick(&self, tick: &Tick) -> impl Future<Output = ()> + Send {
        let _ = tick;
        async {}
    }

    /// After it was answered or failed: here the sessions that it placed are started.
    fn after_tick(&self, report: &TickReport) -> impl Future<Output = ()> + Send {
        let _ = report;
        async {}
    }
}

impl Hooks for () {}

/// What came of a tick.
#[derive(Debug)]
#[non_exhaustive]
pub struct TickReport {
    /// Why it was sent.
    pub cause: Cause,
    /// From sending it to its answer.
    pub took: Duration,
    /// Whether another manager's tick of the group was under way, so that this one was none: it
    /// looked at nobody, and is tried again soon.
    pub busy: bool,
    /// What it made of each session that it looked at, in that order. An error that
    /// [passes](crate::Error::is_transient), such as a server that went away, leaves open whether it
    /// placed any: those are found as sessions that are
    /// [`Scheduled`](crate::SessionStatus::Scheduled).
    pub result: Result<Vec<Scheduling>>,
}

impl TickReport {
    /// The sessions that it placed.
    pub fn placed(&self) -> impl Iterator<Item = &Scheduling> {
        self.result.iter().flatten().filter(|session| session.is_placed())
    }
}

/// Runs a hook to its end, or to its panic; whether it ended.
pub(super) async fn guarded(hook: impl Future<Output = ()>) -> bool {
    let mut hook = pin!(hook);
    // It is not polled again once it has panicked.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| hook.as_mut().poll(context))) {
        Ok(Poll::Ready(())) => Poll::Ready(true),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(false),
    })
    .await
}
