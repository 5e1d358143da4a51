//! What runs, where, and how near to the limits.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::{Verdict, output};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::handles::Handles;
use crate::model::{AgentOccupancy, KeyConcurrency, LiveKernel, LiveSession, QuotaUse};

/// Shows what runs, where, and how near to the limits; all of it, or of one key or agent.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: occupancy status\n         occupancy status --key AKIA\n         \
                        occupancy status --agent i-01"
)]
pub(super) struct Status {
    /// One key with its sessions.
    #[arg(long, value_name = "ACCESS_KEY", conflicts_with_all = ["agent", "session"])]
    key: Option<String>,
    /// One agent with its kernels.
    #[arg(long, value_name = "AGENT_ID", conflicts_with = "session")]
    agent: Option<String>,
    /// One session with its kernels.
    #[arg(long, value_name = "UUID")]
    session: Option<Uuid>,
}

#[derive(Serialize)]
struct Overview {
    sessions: i64,
    system_sessions: i64,
    keys: Vec<KeyConcurrency>,
    quotas: Vec<QuotaUse>,
    agents: Vec<AgentOccupancy>,
}

#[derive(Serialize)]
struct OfKey {
    key: KeyConcurrency,
    sessions: Vec<LiveSession>,
}

#[derive(Serialize)]
struct OfAgent {
    agent: AgentOccupancy,
    kernels: Vec<LiveKernel>,
}

impl Status {
    pub(super) async fn run(self, handles: &Handles, json: bool) -> Result<Verdict> {
        match self {
            Self { session: Some(session_id), .. } => {
                return super::session::Show::of(session_id).run(handles.tracker(), json).await;
            }
            Self { key: Some(access_key), .. } => of_key(handles, &access_key, json).await?,
            Self { agent: Some(agent_id), .. } => of_agent(handles, &agent_id, json).await?,
            Self { .. } => overview(handles, json).await?,
        }
        Ok(Verdict::Fine)
    }
}

async fn overview(handles: &Handles, json: bool) -> Result<()> {
    let mut keys = handles.tracker().concurrency().await?;
    // The nearest to their limit first.
    keys.sort_by_key(|key| key.compute_max.map_or(i64::MAX, |max| max - key.compute_used));
    let overview = Overview {
        sessions: keys.iter().map(|key| key.compute_used).sum(),
        system_sessions: keys.iter().map(|key| key.system_used).sum(),
        quotas: handles.tracker().quotas().await?,
        agents: handles.agents().agent_occupancy().await?,
        keys,
    };
    output::either(json, &overview, describe(&overview))
}

fn describe(overview: &Overview) -> String {
    let mut parts = vec![format!(
        "{} compute and {} system sessions of {} keys on {} agents",
        overview.sessions,
        overview.system_sessions,
        overview.keys.len(),
        overview.agents.len()
    )];
    if !overview.keys.is_empty() {
        parts.push(keys(&overview.keys));
    }
    if !overview.quotas.is_empty() {
        parts.push(quotas(&overview.quotas));
    }
    if !overview.agents.is_empty() {
        parts.push(agents(&overview.agents));
    }
    parts.join("\n\n")
}

fn keys(keys: &[KeyConcurrency]) -> String {
    let header = ["key", "sessions", "system", "occupied", "slots"];
    output::table(
        header,
        keys.iter().map(|key| {
            let inactive = if key.is_active { "" } else { " (inactive)" };
            [
                format!("{}{inactive}", key.access_key),
                output::used_of(key.compute_used, key.compute_max),
                output::used_of(key.system_used, key.system_max),
                output::slots(&key.occupied_slots),
                output::slot_limit(key.total_resource_slots.as_ref()),
            ]
        }),
    )
}

fn quotas(quotas: &[QuotaUse]) -> String {
    output::table(
        ["quota", "sessions", "occupied", "slots"],
        quotas.iter().map(|quota| {
            [
                format!("{} {}", quota.scope, quota.scope_id),
                output::used_of(quota.used, quota.max_concurrent_sessions),
                output::slots(&quota.occupied_slots),
                output::slot_limit(quota.total_resource_slots.as_ref()),
            ]
        }),
    )
}

fn agents(agents: &[AgentOccupancy]) -> String {
    output::table(
        ["agent", "status", "occupied", "available"],
        agents.iter().map(|agent| {
            let drained = if agent.schedulable { "" } else { " (drained)" };
            [
                agent.agent_id.clone(),
                format!("{}{drained}", agent.status),
                output::slots(&agent.occupied_slots),
                output::slots(&agent.available_slots),
            ]
        }),
    )
}

async fn of_key(handles: &Handles, access_key: &str, json: bool) -> Result<()> {
    let known = handles.tracker().concurrency().await?;
    let Some(key) = known.into_iter().find(|key| key.access_key == access_key) else {
        let kind = ErrorKind::Refused(Code::UnknownAccessKey);
        return Err(Error::new(kind, "unknown access key").detail(access_key));
    };
    let sessions = handles.tracker().sessions(access_key).await?;
    let status = OfKey { key, sessions };
    let sessions = output::table(
        ["session", "status", "type", "kernels", "since"],
        status.sessions.iter().map(|session| {
            [
                session.session_id.to_string(),
                session.status.to_string(),
                session.session_type.to_string(),
                session.live_kernels.to_string(),
                output::time(session.created_at),
            ]
        }),
    );
    let text = format!("{}\n\n{sessions}", keys(std::slice::from_ref(&status.key)));
    output::either(json, &status, text)
}

async fn of_agent(handles: &Handles, agent_id: &str, json: bool) -> Result<()> {
    let known = handles.agents().agent_occupancy().await?;
    let Some(agent) = known.into_iter().find(|agent| agent.agent_id == agent_id) else {
        let kind = ErrorKind::Refused(Code::UnknownAgent);
        return Err(Error::new(kind, "unknown agent").detail(agent_id));
    };
    let status = OfAgent { agent, kernels: handles.agents().kernels(agent_id).await? };
    let kernels = output::table(
        ["kernel", "session", "key", "occupied", "since"],
        status.kernels.iter().map(|kernel| {
            [
                kernel.kernel_id.to_string(),
                kernel.session_id.to_string(),
                kernel.access_key.clone(),
                output::slots(&kernel.occupied_slots),
                output::time(kernel.created_at),
            ]
        }),
    );
    let text = format!("{}\n\n{kernels}", agents(std::slice::from_ref(&status.agent)));
    output::either(json, &status, text)
}
