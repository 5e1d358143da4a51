//! A call, what was said to it, and the caller who writes both down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::model::{Admission, Release, Reservation};
use crate::slots::ResourceSlots;
use crate::tracker::ConcurrencyTracker;

/// A call, with all of its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Call {
    Reserve(Box<Reservation>),
    ReserveBatch(Vec<Reservation>),
    Confirm(Uuid),
    Release(Uuid),
    ReleaseBatch(Vec<Uuid>),
    /// The session is told for the history.
    ReleaseKernel {
        kernel: Uuid,
        session: Uuid,
    },
    Terminate(Uuid),
    Settle {
        kernel: Uuid,
        session: Uuid,
        slots: ResourceSlots,
    },
}

/// What the database said to one element of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// The session ended with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) ended: bool,
}

/// A line of the history. Times are those of the machine's monotonic clock, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// Written before the call is sent, by a client that may send it several times if `patient`.
    Call { call: u64, at: u64, patient: bool, what: Call },
    /// Written after the answer arrived; `clock` is the process's idea of the time, in seconds.
    Answer { call: u64, at: u64, clock: i64, said: Vec<Said> },
    /// No answer arrived, or one that refuses the call.
    Failed { call: u64, at: u64, refused: bool, why: String },
}

impl Call {
    /// Sends it once, or as often as the tracker's policy says.
    pub(super) async fn send(&self, tracker: &ConcurrencyTracker) -> Result<Vec<Said>> {
        match self {
            Self::Reserve(reservation) => {
                Ok(vec![tracker.reserve_session(reservation).await?.into()])
            }
            Self::ReserveBatch(reservations) => {
                Ok(all(tracker.reserve_sessions(reservations).await?))
            }
            Self::Confirm(session) => {
                let confirmed = tracker.confirm_session(*session).await?;
                Ok(vec![Said::new(confirmed.outcome.as_str())])
            }
            Self::Release(session) => Ok(vec![tracker.release_session(*session).await?.into()]),
            Self::ReleaseBatch(sessions) => Ok(all(tracker.release_sessions(sessions).await?)),
            Self::ReleaseKernel { kernel, .. } => {
                let released = tracker.release_kernel(*kernel).await?;
                let ended = released.session_ended == Some(true);
                Ok(vec![Said { ended, ..Said::new(released.outcome.as_str()) }])
            }
            Self::Terminate(session) => {
                let terminated = tracker.terminate_session(*session).await?;
                Ok(vec![Said::new(terminated.outcome.as_str())])
            }
            Self::Settle { kernel, slots, .. } => {
                let settled = tracker.settle_kernel(*kernel, slots).await?;
                Ok(vec![Said::new(settled.outcome.as_str())])
            }
        }
    }
}

fn all(answers: Vec<impl Into<Said>>) -> Vec<Said> {
    answers.into_iter().map(Into::into).collect()
}

impl Said {
    fn new(outcome: &str) -> Self {
        Self { outcome: outcome.to_owned(), code: None, ended: false }
    }
}

impl From<Admission> for Said {
    fn from(admission: Admission) -> Self {
        let code = admission.code.map(|code| code.as_str().to_owned());
        Self { code, ..Self::new(admission.outcome.as_str()) }
    }
}

impl From<Release> for Said {
    fn from(release: Release) -> Self {
        Self::new(release.outcome.as_str())
    }
}

/// Nanoseconds of a clock that all processes of the machine share and nobody can set.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    u64::try_from(time.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// Where a caller writes. Returns when the line is out of the process's hands.
pub(super) type Pen = Arc<dyn Fn(&Event) + Send + Sync>;

/// The library's client.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) tracker: ConcurrencyTracker,
    /// It repeats a call by itself.
    pub(super) patient: bool,
}

/// Makes calls, and writes each down before it is sent and after it was answered.
#[derive(Clone)]
pub(super) struct Caller {
    pen: Pen,
    next: Arc<AtomicU64>,
}

impl Caller {
    pub(super) fn new(pen: Pen) -> Self {
        Self { pen, next: Arc::new(AtomicU64::new(1)) }
    }

    pub(super) async fn call(&self, client: &Client, what: &Call) -> Result<Vec<Said>> {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let patient = client.patient;
        (self.pen)(&Event::Call { call, at: now(), patient, what: what.clone() });
        let outcome = what.send(&client.tracker).await;
        let at = now();
        (self.pen)(&match &outcome {
            Ok(said) => {
                let clock = jiff::Timestamp::now().as_second();
                Event::Answer { call, at, clock, said: said.clone() }
            }
            Err(error) => {
                let refused = error.code().is_some();
                Event::Failed { call, at, refused, why: describe(error) }
            }
        });
        outcome
    }
}

fn describe(error: &Error) -> String {
    let state = error.sqlstate().or(error.code().map(crate::Code::sqlstate));
    format!("{} {error}", state.unwrap_or("-----"))
}
