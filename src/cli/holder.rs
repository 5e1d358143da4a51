//! Managers that hold sessions until they confirm them.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use crate::cli::{Verdict, input, output};
use crate::error::Result;
use crate::model::{ConfirmationOutcome, Holder};
use crate::tracker::ConcurrencyTracker;

/// In whose name a command acts; without it, in nobody's, as an operator.
#[derive(Debug, Args)]
pub(super) struct Speaker {
    /// Act as this manager.
    #[arg(long, requires = "epoch", value_name = "NAME")]
    manager: Option<String>,
    /// The epoch that `manager register` answered with.
    #[arg(long, requires = "manager")]
    epoch: Option<i64>,
}

impl Speaker {
    /// The tracker that speaks in this name.
    pub(super) fn through(self, tracker: &ConcurrencyTracker) -> ConcurrencyTracker {
        match (self.manager, self.epoch) {
            (Some(manager), Some(epoch)) => tracker.clone().held_by(Holder { manager, epoch }),
            _ => tracker.clone().unleased(),
        }
    }
}

/// Managers: what they reserve is theirs until they confirm it.
#[derive(Debug, Subcommand)]
pub(super) enum Manager {
    /// Lists every start of a manager that is remembered.
    #[command(after_help = "Example: occupancy manager list")]
    List,
    /// Lists the sessions that are not confirmed, and who holds them.
    #[command(after_help = "Example: occupancy manager leases --suspect")]
    Leases {
        /// Only those whose manager is silent or fenced.
        #[arg(long)]
        suspect: bool,
    },
    /// Registers a start of a manager, and fences earlier ones of the same name.
    #[command(after_help = "Example: occupancy manager register cron --ttl 10m")]
    Register {
        name: String,
        /// Silent for so long, it is suspect.
        #[arg(long, default_value = "30s", value_parser = input::span)]
        ttl: Duration,
        /// Silent for so long beyond that, its sessions may be reclaimed; without it, as long as
        /// --ttl.
        #[arg(long, value_parser = input::span)]
        grace: Option<Duration>,
    },
    /// Records a heartbeat.
    #[command(after_help = "Example: occupancy manager beat cron 17")]
    Beat { name: String, epoch: i64 },
    /// Forgets starts of managers that hold nothing and have been dead for long.
    #[command(after_help = "Example: occupancy manager prune --older-than 24h")]
    Prune {
        /// How long at least: 24h, 90m, 7d.
        #[arg(long, value_name = "AGE", default_value = "24h", value_parser = input::span)]
        older_than: Duration,
    },
}

impl Manager {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        match self {
            Self::List => list(tracker, json).await?,
            Self::Leases { suspect } => leases(tracker, suspect, json).await?,
            Self::Register { name, ttl, grace } => {
                let holder = tracker.register_manager(&name, ttl, grace).await?;
                output::either(json, &holder, format_args!("epoch {}", holder.epoch))?;
            }
            Self::Beat { name, epoch } => {
                let beat = tracker.heartbeat_manager(&Holder { manager: name, epoch }).await?;
                output::either(json, &beat, &beat.outcome)?;
            }
            Self::Prune { older_than } => {
                let mut pruned = 0;
                // Each call forgets a bounded number, so that it never holds up anybody for long.
                loop {
                    match tracker.prune_managers(older_than).await? {
                        0 => break,
                        more => pruned += more,
                    }
                }
                let text = format_args!("{pruned} forgotten");
                output::either(json, &json!({ "pruned": pruned }), text)?;
            }
        }
        Ok(Verdict::Fine)
    }
}

async fn list(tracker: &ConcurrencyTracker, json: bool) -> Result<()> {
    let managers = tracker.managers().await?;
    let header = ["manager", "epoch", "status", "holds", "ttl", "grace", "last beat"];
    output::rows(json, &managers, header, |manager| {
        [
            manager.manager.clone(),
            manager.epoch.to_string(),
            manager.status.to_string(),
            manager.sessions.to_string(),
            format!("{} s", manager.ttl_seconds),
            format!("{} s", manager.grace_seconds),
            output::time(manager.beat_at),
        ]
    })
}

async fn leases(tracker: &ConcurrencyTracker, suspect: bool, json: bool) -> Result<()> {
    let mut leases = tracker.leases().await?;
    if suspect {
        leases.retain(|lease| lease.state != crate::model::LeaseStatus::Held);
    }
    let header = ["session", "access key", "manager", "epoch", "state", "expires"];
    output::rows(json, &leases, header, |lease| {
        [
            lease.session_id.to_string(),
            lease.access_key.clone(),
            output::or_dash(lease.manager.as_ref()),
            lease.epoch.to_string(),
            lease.state.to_string(),
            output::or_dash(lease.expires_at.map(output::time)),
        ]
    })
}

/// Confirms that a session runs: its manager's life no longer matters.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy confirm 01998a6e-0b7a-7c10-b5a1-6c1f6a3c9d52 \
                        --manager cron --epoch 17")]
pub(super) struct Confirm {
    session_id: Uuid,
    /// The manager that holds it.
    #[arg(long, value_name = "NAME")]
    manager: String,
    /// The epoch that `manager register` answered with.
    #[arg(long)]
    epoch: i64,
}

impl Confirm {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let holder = Holder { manager: self.manager, epoch: self.epoch };
        let confirmation = tracker.clone().held_by(holder).confirm_session(self.session_id).await?;
        output::either(json, &confirmation, confirmation.outcome.as_str().replace('_', " "))?;
        let runs = matches!(
            confirmation.outcome,
            ConfirmationOutcome::Confirmed | ConfirmationOutcome::AlreadyConfirmed
        );
        Ok(Verdict::rejected_if(!runs))
    }
}

/// Frees sessions whose manager died before it confirmed them.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy reclaim --max 100")]
pub(super) struct Reclaim {
    /// At most so many: 1 to 10000. Call it again for more.
    #[arg(long, default_value_t = 1000)]
    max: i64,
}

impl Reclaim {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        let reclaimed = tracker.reclaim_expired(self.max).await?;
        if reclaimed.is_empty() && !json {
            output::line("nothing to reclaim")?;
            return Ok(Verdict::Fine);
        }
        output::rows(json, &reclaimed, ["session", "manager", "epoch"], |session| {
            [session.session_id.to_string(), session.manager.clone(), session.epoch.to_string()]
        })?;
        Ok(Verdict::Fine)
    }
}
