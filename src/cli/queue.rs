//! Sessions that wait: letting them, placing them, and seeing why they still do.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::cli::session::Type;
use crate::cli::{Verdict, input, output};
use crate::error::Result;
use crate::scheduling::{
    self, CancelOutcome, ClusterMode, Enqueued, Explanation, Holding, Policy, QueueViolation,
    QueuedKernel, QueuedSession, Scheduling, Selector, SessionRequest,
};

/// Lets a session wait until a tick places it.
///
/// The same call again, with the same --session-id, is answered with `already enqueued`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: occupancy enqueue AKIA --kernel cpu=4,mem=16g,cuda.shares=0.5\n         \
                        occupancy enqueue AKIA --kernel cpu=4 --kernel cpu=4,agent=i-02 \
                        --cluster-mode multi-node --type batch --starts-at 2030-01-01T09:00Z"
)]
pub(super) struct Enqueue {
    /// The key that it will be charged to.
    access_key: String,
    /// A kernel: cpu=4,mem=16g or a JSON object, with agent=i-01 if it must run there; once for each.
    #[arg(long = "kernel", value_name = "KERNEL", required = true,
          value_parser = input::queued_kernel)]
    kernels: Vec<QueuedKernel>,
    /// The id of the session; made up without it.
    #[arg(long, value_name = "UUID")]
    session_id: Option<Uuid>,
    /// What the session is for.
    #[arg(long = "type", value_name = "TYPE", default_value = "interactive")]
    session_type: Type,
    /// The project that it will be charged to.
    #[arg(long)]
    project: Option<String>,
    /// The resource group whose agents it may get.
    #[arg(long, value_name = "NAME", default_value = "default")]
    group: String,
    /// 0 to 100: the higher goes first, strictly.
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true)]
    priority: i32,
    /// Not before this moment; for batch sessions.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    starts_at: Option<Timestamp>,
    /// A session that must end with success before; once for each.
    #[arg(long = "depends-on", value_name = "UUID")]
    dependencies: Vec<Uuid>,
    /// Whether the kernels must be together.
    #[arg(long, value_name = "MODE", default_value = "single-node")]
    cluster_mode: Mode,
}

/// Where the kernels of a session may go.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// All to one agent
    SingleNode,
    /// Each to its own best agent, all or none
    MultiNode,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error: jiff::Error| format!("{error}; write 2030-01-01T09:00:00Z"))
}

impl Enqueue {
    pub(super) async fn run(self, queue: &scheduling::Queue, json: bool) -> Result<Verdict> {
        let request = SessionRequest {
            session_id: self.session_id.unwrap_or_else(Uuid::now_v7),
            access_key: self.access_key,
            kernels: self.kernels,
            session_type: self.session_type.into(),
            project: self.project,
            resource_group: self.group,
            priority: self.priority,
            starts_at: self.starts_at,
            dependencies: self.dependencies,
            cluster_mode: match self.cluster_mode {
                Mode::SingleNode => ClusterMode::SingleNode,
                Mode::MultiNode => ClusterMode::MultiNode,
            },
        };
        let answer = queue.enqueue_session(&request).await?;
        output::either(json, &answer, describe(&answer))?;
        Ok(Verdict::rejected_if(!answer.is_accepted()))
    }
}

fn describe(answer: &Enqueued) -> String {
    let outcome = answer.outcome.as_str().replace('_', " ");
    if answer.is_accepted() {
        return format!("{outcome}: session {}", answer.session_id);
    }
    outcome + &answer.violations.iter().map(reason).collect::<String>()
}

fn reason(violation: &QueueViolation) -> String {
    format!("\n  {}: {}", violation.code, output::or_dash(violation.message.as_ref()))
}

/// Takes a session that waits out of the queue; one that was placed meanwhile is left alone.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy cancel 01998a6e-0b7a-7c10-b5a1-6c1f6a3c9d52")]
pub(super) struct Cancel {
    session_id: Uuid,
}

impl Cancel {
    pub(super) async fn run(self, queue: &scheduling::Queue, json: bool) -> Result<Verdict> {
        let answer = queue.cancel_session(self.session_id).await?;
        let sentence = match answer.outcome {
            CancelOutcome::Placed => "placed: it holds resources; release it".to_owned(),
            ref other => other.as_str().replace('_', " "),
        };
        output::either(json, &answer, sentence)?;
        Ok(Verdict::rejected_if(answer.outcome == CancelOutcome::Placed))
    }
}

/// Cancels the sessions that have waited for too long.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy expire --older-than 24h")]
pub(super) struct Expire {
    /// For how long at least, since their start time if they have one: 24h, 90m, 7d.
    #[arg(long, value_name = "AGE", value_parser = input::span)]
    older_than: Duration,
}

impl Expire {
    pub(super) async fn run(self, queue: &scheduling::Queue, json: bool) -> Result<Verdict> {
        let mut expired = 0;
        // Each call cancels a bounded number, so that it never holds up anybody for long.
        loop {
            match queue.expire_pending(self.older_than).await? {
                0 => break,
                more => expired += more,
            }
        }
        output::either(json, &json!({ "expired": expired }), format_args!("{expired} cancelled"))?;
        Ok(Verdict::Fine)
    }
}

/// Places as many waiting sessions of a resource group as there is room for, once.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy tick\n         \
                        occupancy tick gpu-nodes --policy drf --selector concentrated")]
pub(super) struct Tick {
    /// The resource group.
    #[arg(value_name = "GROUP", default_value = "default")]
    group: String,
    /// Look at so many sessions at most: 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = 1000, allow_negative_numbers = true)]
    max: i32,
    /// Who goes first, inside a priority.
    #[arg(long, default_value = "fifo",
          value_parser = PossibleValuesParser::new(["fifo", "lifo", "drf"]))]
    policy: String,
    /// Which of the agents that have room gets a session.
    #[arg(long, default_value = "dispersed", value_parser = selectors())]
    selector: String,
    /// With fifo: whom so many ticks could not place steps aside; 0 = nobody passes him.
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true)]
    tries: i32,
}

/// The selectors that there are.
pub(super) fn selectors() -> PossibleValuesParser {
    PossibleValuesParser::new(["concentrated", "dispersed", "roundrobin", "legacy"])
}

impl Tick {
    pub(super) async fn run(self, queue: &scheduling::Queue, json: bool) -> Result<Verdict> {
        let tick = scheduling::Tick {
            resource_group: self.group,
            max_sessions: self.max,
            policy: Policy::from(self.policy),
            selector: Selector::from(self.selector),
            tries: self.tries,
        };
        let answers = queue.schedule_sessions(&tick).await?;
        if json {
            output::json(&answers)?;
        } else if answers.is_empty() {
            output::line("nobody waits")?;
        } else {
            output::rows(false, &answers, ["session", "outcome", "agents", "why"], |answer| {
                [
                    answer.session_id.to_string(),
                    answer.outcome.to_string(),
                    agents(answer),
                    output::or_dash(answer.message.as_ref()),
                ]
            })?;
            let placed = answers.iter().filter(|answer| answer.is_placed()).count();
            output::line(format_args!("\n{placed} placed, {} wait", answers.len() - placed))?;
        }
        Ok(Verdict::Fine)
    }
}

/// Every agent that a session got, once.
fn agents(answer: &Scheduling) -> String {
    let mut agents: Vec<_> = answer.kernels.iter().map(|kernel| kernel.agent.as_str()).collect();
    agents.sort_unstable();
    agents.dedup();
    output::or_dash((!agents.is_empty()).then(|| agents.join(",")))
}

/// Lists the sessions that wait: for how long, for what, and what was in the way the last time.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy queue\n         occupancy queue gpu-nodes --json")]
pub(super) struct Listing {
    /// Only those of this resource group.
    #[arg(value_name = "GROUP")]
    group: Option<String>,
}

/// A session with its age by the database's clock.
#[derive(Serialize)]
struct Waiting {
    #[serde(flatten)]
    session: QueuedSession,
    age_seconds: f64,
}

impl Listing {
    pub(super) async fn run(self, queue: &scheduling::Queue, json: bool) -> Result<Verdict> {
        let mut waiting = Vec::new();
        for state in queue.get_queues(self.group.as_deref()).await? {
            let of_oldest = SignedDuration::try_from_secs_f64(state.oldest_seconds);
            let now = state.oldest_at + of_oldest.unwrap_or_default();
            let sessions = queue.queue(&state.resource_group).await?;
            waiting.extend(sessions.into_iter().map(|session| {
                // Those that came since then are not a moment old.
                let age_seconds = now.duration_since(session.enqueued_at).as_secs_f64().max(0.0);
                Waiting { session, age_seconds }
            }));
        }
        if waiting.is_empty() && !json {
            output::line("nobody waits")?;
            return Ok(Verdict::Fine);
        }
        let header =
            ["session", "group", "key", "priority", "age", "tries", "slots", "last in the way"];
        output::rows(json, &waiting, header, |Waiting { session, age_seconds }| {
            [
                session.session_id.to_string(),
                session.resource_group.clone(),
                session.access_key.clone(),
                session.priority.to_string(),
                age(*age_seconds),
                session.tries.to_string(),
                output::slots(&session.total_slots),
                output::or_dash(session.code.as_ref()),
            ]
        })?;
        Ok(Verdict::Fine)
    }
}

/// A span of time in its two largest units.
fn age(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an age for people"
    )]
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Tells why a session waits, or who holds an agent or what a key may have.
#[derive(Debug, Subcommand)]
pub(super) enum Explain {
    /// Why a session waits, who holds what is in the way, and what would let it in.
    #[command(
        after_help = "Example: occupancy explain session 01998a6e-0b7a-7c10-b5a1-6c1f6a3c9d52"
    )]
    Session { session_id: Uuid },
    /// Who holds an agent.
    #[command(after_help = "Example: occupancy explain agent i-01")]
    Agent { agent_id: String },
    /// Who holds what an access key may have.
    #[command(after_help = "Example: occupancy explain key AKIA")]
    Key { access_key: String },
}

impl Explain {
    pub(super) async fn run(self, queue: &scheduling::Queue, json: bool) -> Result<Verdict> {
        match self {
            Self::Session { session_id } => {
                let reasons = queue.explain_session(session_id).await?;
                output::either(json, &reasons, explain(&reasons))?;
            }
            Self::Agent { agent_id } => holders(&queue.explain_agent(&agent_id).await?, json)?,
            Self::Key { access_key } => holders(&queue.explain_key(&access_key).await?, json)?,
        }
        Ok(Verdict::Fine)
    }
}

fn explain(reasons: &[Explanation]) -> String {
    let Some(first) = reasons.first() else { return String::new() };
    let since = first.waiting_since.map(|at| format!(", waits since {}", output::time(at)));
    let tried = first.tries.map(|tries| match first.tried_at {
        Some(last) => format!(", tried {tries} times, last at {}", output::time(last)),
        None => ", not tried yet".to_owned(),
    });
    let mut text = format!("session {}: {}", first.session_id, first.status);
    text.extend(since.into_iter().chain(tried));
    text.extend(reasons.iter().map(explain_one));
    text
}

fn explain_one(reason: &Explanation) -> String {
    let code = reason.code.as_ref().map(|code| format!("{code}: "));
    let message = output::or_dash(reason.message.as_ref());
    let mut text = format!("\n  {}{message}", code.unwrap_or_default());
    text.extend(reason.holders.iter().map(|holder| {
        format!(
            "\n    held by {} of {}: {}, {} since {}",
            holder.session_id,
            holder.access_key,
            output::slots(&holder.slots),
            holder.status,
            output::time(holder.since),
        )
    }));
    text.extend(reason.remedy.iter().map(|remedy| format!("\n    to let it in: {remedy}")));
    text
}

fn holders(holdings: &[Holding], json: bool) -> Result<()> {
    if holdings.is_empty() && !json {
        return output::line("nobody holds anything of it");
    }
    let header = ["session", "key", "type", "status", "kernel", "agent", "slots", "since"];
    output::rows(json, holdings, header, |holding| {
        [
            holding.session_id.to_string(),
            holding.access_key.clone(),
            holding.session_type.to_string(),
            holding.status.to_string(),
            holding.kernel_id.to_string(),
            holding.agent_id.clone(),
            output::slots(&holding.slots),
            output::time(holding.since),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_two_largest_units() {
        for (seconds, text) in
            [(0.9, "0s"), (61.0, "1m 1s"), (7_325.0, "2h 2m"), (180_000.0, "2d 2h")]
        {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn a_moment_is_one_of_this_calendar() {
        moment("2030-01-01T09:00Z").expect("RFC 3339 without seconds");
        for wrong in ["soon", "2030-01-01", "10000-01-01T00:00:00Z", "2030-02-30T00:00:00Z"] {
            moment(wrong).expect_err(wrong);
        }
    }
}
