//! One manager process, as far as the database can tell.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::error::Result;
use crate::handles::Handles;
use crate::model::{Admission, RejectionCode, Reservation, SessionType};
use crate::scheduling::{Cancellation, Enqueued, Scheduling, SessionRequest, Tick};
use crate::slots::ResourceSlots;
use crate::workload::tally::Tally;
use crate::workload::view::{Demand, Fit, View};

/// How many agents are tried for one session before its rejection is final.
const TRIES: usize = 8;

/// Calls the database through connections of its own, and has each call recorded.
#[derive(Clone)]
pub(super) struct Manager {
    handles: Handles,
    tally: Arc<Tally>,
}

/// A session to be placed.
pub(super) struct Wish {
    pub(super) session_id: Uuid,
    pub(super) access_key: String,
    pub(super) session_type: SessionType,
    pub(super) project: Option<String>,
    /// What each kernel asks for.
    pub(super) kernels: Vec<Demand>,
}

/// A session that was admitted.
pub(super) struct Live {
    pub(super) session_id: Uuid,
    pub(super) kernels: Vec<Uuid>,
    /// What it holds, by the number of the agent in the manager's view.
    pub(super) held: Vec<(usize, Demand)>,
}

impl Wish {
    /// The reservation with each kernel on the agent chosen for it.
    pub(super) fn on(&self, view: &View, agents: &[usize]) -> Reservation {
        let reservation = Reservation {
            session_id: self.session_id,
            access_key: self.access_key.clone(),
            kernels: Vec::new(),
            session_type: self.session_type.clone(),
            project: self.project.clone(),
        };
        agents.iter().zip(&self.kernels).fold(reservation, |reservation, (agent, demand)| {
            reservation.with_kernel(view.agent_id(*agent), demand.slots())
        })
    }

    /// The admitted session, which is now part of the view.
    pub(super) fn admitted(&self, view: &mut View, agents: &[usize], admission: Admission) -> Live {
        let held: Vec<_> = agents.iter().copied().zip(self.kernels.iter().copied()).collect();
        view.take(&held);
        Live {
            session_id: self.session_id,
            kernels: admission.kernels.into_iter().map(|kernel| kernel.kernel_id).collect(),
            held,
        }
    }
}

impl Manager {
    pub(super) fn new(handles: Handles, tally: Arc<Tally>) -> Self {
        Self { handles, tally }
    }

    pub(super) fn handles(&self) -> &Handles {
        &self.handles
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Reserves on the agents that fit best, and on others where the database knows better.
    /// `None` is a rejection.
    pub(super) async fn place(&self, view: &mut View, wish: &Wish) -> Result<Option<Live>> {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let fit = if tries >= TRIES / 2 { Fit::Tight } else { Fit::Roomy };
            let (mut agents, mut fits) = view.choose(&wish.kernels, fit);
            if !fits {
                // The view may be behind: others have released meanwhile.
                self.look(view).await?;
                (agents, fits) = view.choose(&wish.kernels, fit);
            }
            let admission = self.reserve(&wish.on(view, &agents)).await?;
            if admission.is_admitted() {
                self.tally.settle(&admission);
                return Ok(Some(wish.admitted(view, &agents, admission)));
            }
            view.learn(&admission.violations);
            let elsewhere = admission.code == Some(RejectionCode::AgentCapacity);
            if !elsewhere || !fits || tries == 0 {
                self.tally.settle(&admission);
                return Ok(None);
            }
            self.tally.move_on();
        }
    }

    /// Brings a view up to date.
    pub(super) async fn look(&self, view: &mut View) -> Result<()> {
        view.refresh(&self.handles.agents().agent_occupancy().await?);
        Ok(())
    }

    /// Reserves; the caller decides whether the answer is final.
    pub(super) async fn reserve(&self, reservation: &Reservation) -> Result<Admission> {
        let answer = self.handles.tracker().reserve_session(reservation);
        let admission = self.timed("reserve", answer).await?;
        self.tally.note_key(&reservation.session_type, &admission);
        Ok(admission)
    }

    pub(super) async fn enqueue(&self, request: &SessionRequest) -> Result<Enqueued> {
        self.timed("enqueue", self.handles.queue().enqueue_session(request)).await
    }

    pub(super) async fn cancel(&self, session_id: Uuid) -> Result<Cancellation> {
        self.timed("cancel", self.handles.queue().cancel_session(session_id)).await
    }

    pub(super) async fn tick(&self, tick: &Tick) -> Result<Vec<Scheduling>> {
        self.timed("tick", self.handles.queue().schedule_sessions(tick)).await
    }

    pub(super) async fn release(&self, session_id: Uuid) -> Result<()> {
        self.timed("release", self.handles.tracker().release_session(session_id)).await?;
        Ok(())
    }

    pub(super) async fn release_kernel(&self, kernel_id: Uuid) -> Result<()> {
        self.timed("release kernel", self.handles.tracker().release_kernel(kernel_id)).await?;
        Ok(())
    }

    pub(super) async fn terminate(&self, session_id: Uuid) -> Result<()> {
        self.timed("terminate", self.handles.tracker().terminate_session(session_id)).await?;
        Ok(())
    }

    pub(super) async fn settle(&self, kernel_id: Uuid, slots: &ResourceSlots) -> Result<()> {
        self.timed("settle", self.handles.tracker().settle_kernel(kernel_id, slots)).await?;
        Ok(())
    }

    async fn timed<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let started = Instant::now();
        let answer = answer.await?;
        self.tally.called(call, started.elapsed());
        Ok(answer)
    }
}
