//! Proof, repair and forgetting.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use crate::cli::{Verdict, input, output};
use crate::error::Result;
use crate::handles::Handles;
use crate::model::{Correction, Scope};
use crate::tracker::ConcurrencyTracker;

/// Proves every stored number against the ledger; changes nothing, safe on a live system.
#[derive(Debug, Args)]
#[command(after_help = "Exits with 3 if an invariant is broken.\n\nExample: occupancy audit")]
pub(super) struct Audit;

impl Audit {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let findings = tracker.audit().await?;
        if findings.is_empty() && !json {
            output::line("sound")?;
        } else {
            let header = ["invariant", "subject", "expected", "actual", "remedy"];
            output::rows(json, &findings, header, |finding| {
                [
                    finding.invariant.clone(),
                    finding.subject.clone(),
                    output::or_dash(finding.expected.as_ref()),
                    output::or_dash(finding.actual.as_ref()),
                    output::or_dash(finding.remedy.as_ref()),
                ]
            })?;
        }
        Ok(Verdict::unsound_if(!findings.is_empty()))
    }
}

/// Sets stored numbers right from the sessions; safe while others reserve, release and tick.
#[derive(Debug, Subcommand)]
pub(super) enum Recalc {
    /// The counts and slots of one key, or of all.
    #[command(after_help = "Example: occupancy recalc concurrency AKIA\n         \
                            occupancy recalc concurrency --fullscan")]
    Concurrency {
        #[arg(required_unless_present = "fullscan", conflicts_with = "fullscan")]
        access_key: Option<String>,
        /// Scan everything.
        #[arg(long)]
        fullscan: bool,
    },
    /// What is occupied of one agent, of those of a session, or of all.
    #[command(after_help = "Example: occupancy recalc agents i-01\n         \
                            occupancy recalc agents --fullscan")]
    Agents {
        #[arg(required_unless_present_any = ["session", "fullscan"], conflicts_with = "fullscan")]
        agent_id: Option<String>,
        /// The agents of this session.
        #[arg(long, value_name = "UUID", conflicts_with_all = ["agent_id", "fullscan"])]
        session: Option<Uuid>,
        /// Scan everything.
        #[arg(long)]
        fullscan: bool,
    },
    /// The use of one quota, or of all.
    #[command(after_help = "Example: occupancy recalc quotas user alice\n         \
                            occupancy recalc quotas --fullscan")]
    Quotas {
        #[arg(value_enum, requires = "scope_id")]
        #[arg(required_unless_present = "fullscan", conflicts_with = "fullscan")]
        scope: Option<super::registry::QuotaScope>,
        scope_id: Option<String>,
        /// Scan everything.
        #[arg(long)]
        fullscan: bool,
    },
    /// What the waiting sessions of one key ask for, or of all.
    #[command(after_help = "Example: occupancy recalc queue AKIA\n         \
                            occupancy recalc queue --fullscan")]
    Queue {
        #[arg(required_unless_present = "fullscan", conflicts_with = "fullscan")]
        access_key: Option<String>,
        /// Scan everything.
        #[arg(long)]
        fullscan: bool,
    },
}

impl Recalc {
    pub(super) async fn run(self, handles: &Handles, json: bool) -> Result<Verdict> {
        let (tracker, agents, queue) = (handles.tracker(), handles.agents(), handles.queue());
        let corrections = match self {
            Self::Concurrency { access_key: Some(access_key), .. } => {
                tracker.recalc_concurrency(&access_key).await?
            }
            Self::Concurrency { .. } => tracker.recalc_concurrency_fullscan().await?,
            Self::Agents { agent_id: Some(agent_id), .. } => agents.recalc_agent(&agent_id).await?,
            Self::Agents { session: Some(session_id), .. } => {
                agents.recalc_agents_by_session(session_id).await?
            }
            Self::Agents { .. } => agents.recalc_agents_fullscan().await?,
            Self::Quotas { scope: Some(scope), scope_id: Some(scope_id), .. } => {
                tracker.recalc_quota(&Scope::from(scope), &scope_id).await?
            }
            Self::Quotas { .. } => tracker.recalc_quotas_fullscan().await?,
            Self::Queue { access_key: Some(access_key), .. } => {
                queue.recalc_queue(&access_key).await?
            }
            Self::Queue { .. } => queue.recalc_queue_fullscan().await?,
        };
        report(&corrections, json)?;
        Ok(Verdict::Fine)
    }
}

fn report(corrections: &[Correction], json: bool) -> Result<()> {
    if corrections.is_empty() && !json {
        return output::line("nothing to correct");
    }
    output::rows(json, corrections, ["subject", "before", "after"], |correction| {
        [
            correction.subject.clone(),
            output::value(correction.before.as_ref()),
            output::value(correction.after.as_ref()),
        ]
    })
}

/// Forgets sessions that ended long ago.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy prune --older-than 24h")]
pub(super) struct Prune {
    /// How long ago at least: 24h, 90m, 7d.
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = input::span)]
    older_than: Duration,
}

impl Prune {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let mut pruned = 0;
        // Each call forgets a bounded number, so that it never holds up anybody for long.
        loop {
            match tracker.prune_ended(self.older_than).await? {
                0 => break,
                more => pruned += more,
            }
        }
        output::either(json, &json!({ "pruned": pruned }), format_args!("{pruned} forgotten"))?;
        Ok(Verdict::Fine)
    }
}
