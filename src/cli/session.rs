//! Reserving, releasing and looking at sessions.

use clap::{Args, ValueEnum};
use uuid::Uuid;

use crate::cli::holder::Speaker;
use crate::cli::{Verdict, input, output};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{
    Admission, KernelRequest, PlacedKernel, Reservation, SessionType, SettlementOutcome,
};
use crate::slots::ResourceSlots;
use crate::tracker::ConcurrencyTracker;

/// What a session asks for.
#[derive(Debug, Args)]
struct Wish {
    /// The key that it is charged to.
    access_key: String,
    /// A kernel: agent=i-01,cpu=4,mem=16g or a JSON object; once for each kernel.
    #[arg(long = "kernel", value_name = "KERNEL", required = true, value_parser = input::kernel)]
    kernels: Vec<KernelRequest>,
    /// The id of the session; made up without it.
    #[arg(long, value_name = "UUID")]
    session_id: Option<Uuid>,
    /// What the session is for.
    #[arg(long = "type", value_name = "TYPE", default_value = "interactive")]
    session_type: Type,
    /// The project that it is charged to.
    #[arg(long)]
    project: Option<String>,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Type {
    /// A notebook or a terminal
    Interactive,
    /// A job that runs to its end
    Batch,
    /// A served model
    Inference,
    /// SFTP and other private sessions
    System,
}

impl From<Type> for SessionType {
    fn from(session_type: Type) -> Self {
        match session_type {
            Type::Interactive => Self::Interactive,
            Type::Batch => Self::Batch,
            Type::Inference => Self::Inference,
            Type::System => Self::System,
        }
    }
}

impl Wish {
    fn into_reservation(self) -> Reservation {
        Reservation {
            session_id: self.session_id.unwrap_or_else(Uuid::now_v7),
            access_key: self.access_key,
            kernels: self.kernels,
            session_type: self.session_type.into(),
            project: self.project,
        }
    }
}

/// Shows whether a session would be admitted, condition by condition, and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy check AKIA --kernel agent=i-01,cpu=4,mem=16g")]
pub(super) struct Check {
    #[command(flatten)]
    wish: Wish,
}

impl Check {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let predicates = tracker.check_session(&self.wish.into_reservation()).await?;
        let header = ["predicate", "of", "passed", "used", "requested", "max"];
        output::rows(json, &predicates, header, |predicate| {
            [
                predicate.predicate.clone(),
                output::or_dash(predicate.scope_id.as_ref()),
                if predicate.passed { "yes" } else { "NO" }.to_owned(),
                output::value(predicate.used.as_ref()),
                output::value(predicate.requested.as_ref()),
                output::value(predicate.max.as_ref()),
            ]
        })?;
        Ok(Verdict::rejected_if(predicates.iter().any(|predicate| !predicate.passed)))
    }
}

/// Reserves a session: its slot, its quotas and its agents, or nothing of it.
///
/// The same call again, with the same --session-id, is answered with `already admitted`.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy reserve AKIA --kernel agent=i-01,cpu=4,mem=16g \
                        --kernel agent=i-02,cpu=1,cuda.shares=0.5 --type batch")]
pub(super) struct Reserve {
    #[command(flatten)]
    wish: Wish,
    #[command(flatten)]
    speaker: Speaker,
}

impl Reserve {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let tracker = self.speaker.through(tracker);
        let admission = tracker.reserve_session(&self.wish.into_reservation()).await?;
        if json {
            output::json(&admission)?;
        } else {
            output::line(describe(&admission))?;
        }
        Ok(Verdict::rejected_if(!admission.is_admitted()))
    }
}

fn describe(admission: &Admission) -> String {
    let outcome = admission.outcome.as_str().replace('_', " ");
    if !admission.is_admitted() {
        let reasons = admission.violations.iter().map(|violation| {
            format!("\n  {}: {}", violation.code, output::or_dash(violation.message.as_ref()))
        });
        return outcome + &reasons.collect::<String>();
    }
    let mut text = format!(
        "{outcome}: session {}\n{} runs {}",
        output::or_dash(admission.session_id),
        output::or_dash(admission.access_key.as_ref()),
        output::used_of(admission.used.unwrap_or_default(), admission.max),
    );
    text.push_str(&kernels(&admission.kernels));
    text
}

fn kernels(kernels: &[PlacedKernel]) -> String {
    let line = |kernel: &PlacedKernel| {
        let ended = kernel.ended_at.map(|at| format!(", ended {}", output::time(at)));
        format!(
            "\n  kernel {} on {}: {}{}",
            kernel.kernel_id,
            kernel.agent,
            output::slots(&kernel.slots),
            ended.unwrap_or_default()
        )
    };
    kernels.iter().map(line).collect()
}

/// Ends sessions and frees, once, all that they hold.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy release 01998a6e-0b7a-7c10-b5a1-6c1f6a3c9d52")]
pub(super) struct Release {
    #[arg(required = true, value_name = "SESSION_ID")]
    session_ids: Vec<Uuid>,
    #[command(flatten)]
    speaker: Speaker,
}

impl Release {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let tracker = self.speaker.through(tracker);
        let releases = match self.session_ids.as_slice() {
            [session_id] => vec![tracker.release_session(*session_id).await?],
            several => tracker.release_sessions(several).await?,
        };
        output::rows(json, &releases, ["session", "outcome"], |release| {
            [output::or_dash(release.session_id), release.outcome.as_str().replace('_', " ")]
        })?;
        Ok(Verdict::Fine)
    }
}

/// Ends one kernel and frees its share; the last one ends the session.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy release-kernel 01998a6e-0b7a-7c10-b5a1-6c1f6a3c9d52")]
pub(super) struct ReleaseKernel {
    kernel_id: Uuid,
    #[command(flatten)]
    speaker: Speaker,
}

impl ReleaseKernel {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let tracker = self.speaker.through(tracker);
        let release = tracker.release_kernel(self.kernel_id).await?;
        let outcome = release.outcome.as_str().replace('_', " ");
        let session = match release.session_id {
            Some(id) if release.session_ended == Some(true) => format!(", session {id} has ended"),
            Some(id) => format!(", of session {id}"),
            None => String::new(),
        };
        output::either(json, &release, outcome + &session)?;
        Ok(Verdict::Fine)
    }
}

/// Gives back a session's slot and quotas at once; its agents stay occupied until each kernel ends.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy terminate 01998a6e-0b7a-7c10-b5a1-6c1f6a3c9d52")]
pub(super) struct Terminate {
    session_id: Uuid,
    #[command(flatten)]
    speaker: Speaker,
}

impl Terminate {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let tracker = self.speaker.through(tracker);
        let termination = tracker.terminate_session(self.session_id).await?;
        output::either(json, &termination, termination.outcome.as_str().replace('_', " "))?;
        Ok(Verdict::Fine)
    }
}

/// Replaces what was requested for a kernel by what its agent really allotted.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy settle 01998a6e-0b7a-7c10-b5a1-6c1f6a3c9d52 \
                        --slots cpu=4,mem=15g,cuda.shares=0.5")]
pub(super) struct Settle {
    kernel_id: Uuid,
    /// What it really occupies.
    #[arg(long, value_name = "SLOTS", value_parser = input::slots)]
    slots: ResourceSlots,
    #[command(flatten)]
    speaker: Speaker,
}

impl Settle {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let tracker = self.speaker.through(tracker);
        let settlement = tracker.settle_kernel(self.kernel_id, &self.slots).await?;
        let sentence = match settlement.outcome {
            SettlementOutcome::Settled => format!("settled: {}", output::slots(&self.slots)),
            ref other => other.as_str().replace('_', " "),
        };
        output::either(json, &settlement, sentence)?;
        Ok(Verdict::Fine)
    }
}

/// Shows one session, live or remembered.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy session 01998a6e-0b7a-7c10-b5a1-6c1f6a3c9d52")]
pub(super) struct Show {
    session_id: Uuid,
}

impl Show {
    pub(super) fn of(session_id: Uuid) -> Self {
        Self { session_id }
    }

    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let Some(session) = tracker.get_session(self.session_id).await? else {
            let code = ErrorKind::Refused(Code::UnknownSessionOrKernel);
            return Err(Error::new(code, "unknown session").detail(self.session_id.to_string()));
        };
        let facts = [
            ("access key", session.access_key.clone()),
            ("type", session.session_type.as_ref().map(ToString::to_string)),
            ("user", session.user_id.clone()),
            ("project", session.project.clone()),
            ("domain", session.domain.clone()),
            ("resource group", session.resource_group.clone()),
            ("created", Some(output::time(session.created_at))),
            ("terminating since", session.terminating_at.map(output::time)),
            ("ended", session.ended_at.map(output::time)),
        ];
        let mut text = format!("session {}: {}", session.session_id, session.status);
        let facts = facts.into_iter().filter_map(|(name, fact)| Some((name, fact?)));
        text.extend(facts.map(|(name, fact)| format!("\n  {name}: {fact}")));
        text.push_str(&kernels(&session.kernels));
        output::either(json, &session, text)?;
        Ok(Verdict::Fine)
    }
}
