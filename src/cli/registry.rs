//! Policies, keys, quotas and agents.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::agents::AgentRegistry;
use crate::cli::{Verdict, input, output};
use crate::error::Result;
use crate::model::{
    AgentStatus, DefaultForUnspecified, DropOutcome, Heartbeat, Keypair, PutOutcome,
    Quota as Limits, ResourcePolicy, Scope,
};
use crate::slots::ResourceSlots;
use crate::tracker::ConcurrencyTracker;

/// Resource policies: limits that keys share.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Creates or replaces a policy; a limit that is left out is unlimited.
    #[command(after_help = "Example: occupancy policy put student --max-sessions 3 \
                            --slots cpu=16,mem=64g,cuda.shares=1.5")]
    Put(PolicyPut),
    /// Removes a policy that no key uses.
    #[command(after_help = "Example: occupancy policy drop student")]
    Drop { name: String },
    /// Lists every policy.
    #[command(after_help = "Example: occupancy policy list")]
    List,
}

#[derive(Debug, Args)]
pub(super) struct PolicyPut {
    name: String,
    /// Compute sessions that a key may run at once.
    #[arg(long, value_name = "N")]
    max_sessions: Option<i64>,
    /// System sessions that a key may run at once.
    #[arg(long, value_name = "N")]
    max_system_sessions: Option<i64>,
    /// Kernels in one session.
    #[arg(long, value_name = "N")]
    max_kernels: Option<i64>,
    /// How much of each slot a key's sessions may take together.
    #[arg(long, value_name = "SLOTS", value_parser = input::slots)]
    slots: Option<ResourceSlots>,
    /// How much of a slot that --slots does not name.
    #[arg(long, value_name = "RULE", default_value = "limited")]
    unspecified: Unspecified,
    /// Sessions of a key that may wait.
    #[arg(long, value_name = "N")]
    max_pending_sessions: Option<i64>,
    /// How much of each slot a key's waiting sessions may ask for together.
    #[arg(long, value_name = "SLOTS", value_parser = input::slots)]
    max_pending_slots: Option<ResourceSlots>,
}

/// What holds for a slot that a limit does not name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Unspecified {
    /// None of it
    Limited,
    /// Any amount
    Unlimited,
}

impl From<Unspecified> for DefaultForUnspecified {
    fn from(rule: Unspecified) -> Self {
        match rule {
            Unspecified::Limited => Self::Limited,
            Unspecified::Unlimited => Self::Unlimited,
        }
    }
}

impl Policy {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        match self {
            Self::Put(put) => {
                let policy = ResourcePolicy {
                    name: put.name,
                    max_concurrent_sessions: put.max_sessions,
                    max_concurrent_system_sessions: put.max_system_sessions,
                    total_resource_slots: put.slots,
                    default_for_unspecified: put.unspecified.into(),
                    max_pending_sessions: put.max_pending_sessions,
                    max_pending_resource_slots: put.max_pending_slots,
                    max_kernels_per_session: put.max_kernels,
                };
                report_put(&tracker.put_resource_policy(&policy).await?, json)
            }
            Self::Drop { name } => report_drop(&tracker.drop_resource_policy(&name).await?, json),
            Self::List => {
                let policies = tracker.resource_policies().await?;
                let header = ["policy", "sessions", "system", "kernels", "slots", "unspecified"];
                output::rows(json, &policies, header, |policy| {
                    [
                        policy.name.clone(),
                        output::limit(policy.max_concurrent_sessions),
                        output::limit(policy.max_concurrent_system_sessions),
                        output::limit(policy.max_kernels_per_session),
                        output::slot_limit(policy.total_resource_slots.as_ref()),
                        policy.default_for_unspecified.to_string(),
                    ]
                })?;
                Ok(Verdict::Fine)
            }
        }
    }
}

/// Access keys.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Registers a key or replaces it.
    #[command(after_help = "Example: occupancy key put AKIA --user alice --policy student")]
    Put(KeyPut),
    /// Removes a key that runs no session.
    #[command(after_help = "Example: occupancy key drop AKIA")]
    Drop { access_key: String },
    /// Lists every key with its use and its limits.
    #[command(after_help = "Example: occupancy key list")]
    List,
    /// Ends every session of a key, for purging a user.
    #[command(after_help = "Example: occupancy key clear AKIA")]
    Clear { access_key: String },
}

#[derive(Debug, Args)]
pub(super) struct KeyPut {
    access_key: String,
    /// Whose it is.
    #[arg(long)]
    user: String,
    /// The policy that binds it.
    #[arg(long)]
    policy: String,
    /// The domain that its sessions are charged to.
    #[arg(long)]
    domain: Option<String>,
    /// Switch it off: it may reserve nothing.
    #[arg(long)]
    inactive: bool,
}

impl Key {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        match self {
            Self::Put(put) => {
                let keypair = Keypair {
                    access_key: put.access_key,
                    user_id: put.user,
                    resource_policy: put.policy,
                    is_active: !put.inactive,
                    domain: put.domain,
                };
                report_put(&tracker.put_keypair(&keypair).await?, json)
            }
            Self::Drop { access_key } => {
                report_drop(&tracker.drop_keypair(&access_key).await?, json)
            }
            Self::List => {
                let keys = tracker.concurrency().await?;
                let header = ["key", "user", "policy", "active", "sessions", "system", "occupied"];
                output::rows(json, &keys, header, |key| {
                    [
                        key.access_key.clone(),
                        key.user_id.clone(),
                        key.resource_policy.clone(),
                        yes_or_no(key.is_active),
                        output::used_of(key.compute_used, key.compute_max),
                        output::used_of(key.system_used, key.system_max),
                        output::slots(&key.occupied_slots),
                    ]
                })?;
                Ok(Verdict::Fine)
            }
            Self::Clear { access_key } => {
                let ended = tracker.clear_concurrency(&access_key).await?;
                output::either(json, &json!({ "ended": ended }), format_args!("{ended} ended"))?;
                Ok(Verdict::Fine)
            }
        }
    }
}

/// Quotas of users, projects, domains and resource groups.
#[derive(Debug, Subcommand)]
pub(super) enum Quota {
    /// Creates or replaces a quota; a limit that is left out is unlimited.
    #[command(after_help = "Example: occupancy quota put user alice --max-sessions 5\n         \
                            occupancy quota put project vision --slots cuda.shares=6.5")]
    Put(QuotaPut),
    /// Removes a quota.
    #[command(after_help = "Example: occupancy quota drop user alice")]
    Drop {
        #[arg(value_enum)]
        scope: QuotaScope,
        scope_id: String,
    },
    /// Lists every quota with its use.
    #[command(after_help = "Example: occupancy quota list")]
    List,
}

#[derive(Debug, Args)]
pub(super) struct QuotaPut {
    #[arg(value_enum)]
    scope: QuotaScope,
    /// Which user, project, domain or resource group.
    scope_id: String,
    /// Compute sessions that may run at once.
    #[arg(long, value_name = "N")]
    max_sessions: Option<i64>,
    /// How much of each slot they may take together.
    #[arg(long, value_name = "SLOTS", value_parser = input::slots)]
    slots: Option<ResourceSlots>,
    /// How much of a slot that --slots does not name.
    #[arg(long, value_name = "RULE", default_value = "unlimited")]
    unspecified: Unspecified,
}

/// Whose use a quota limits.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum QuotaScope {
    /// Every key of one user
    User,
    /// One project, as named in the reservations
    Project,
    /// Every key of one domain
    Domain,
    /// The agents of one resource group
    ResourceGroup,
}

impl From<QuotaScope> for Scope {
    fn from(scope: QuotaScope) -> Self {
        match scope {
            QuotaScope::User => Self::User,
            QuotaScope::Project => Self::Project,
            QuotaScope::Domain => Self::Domain,
            QuotaScope::ResourceGroup => Self::ResourceGroup,
        }
    }
}

impl Quota {
    pub(super) async fn run(self, tracker: &ConcurrencyTracker, json: bool) -> Result<Verdict> {
        match self {
            Self::Put(put) => {
                let quota = Limits {
                    scope: put.scope.into(),
                    scope_id: put.scope_id,
                    max_concurrent_sessions: put.max_sessions,
                    total_resource_slots: put.slots,
                    default_for_unspecified: put.unspecified.into(),
                };
                report_put(&tracker.put_quota(&quota).await?, json)
            }
            Self::Drop { scope, scope_id } => {
                report_drop(&tracker.drop_quota(&scope.into(), &scope_id).await?, json)
            }
            Self::List => {
                let quotas = tracker.quotas().await?;
                let header = ["scope", "id", "sessions", "occupied", "slots", "unspecified"];
                output::rows(json, &quotas, header, |quota| {
                    [
                        quota.scope.to_string(),
                        quota.scope_id.clone(),
                        output::used_of(quota.used, quota.max_concurrent_sessions),
                        output::slots(&quota.occupied_slots),
                        output::slot_limit(quota.total_resource_slots.as_ref()),
                        quota.default_for_unspecified.to_string(),
                    ]
                })?;
                Ok(Verdict::Fine)
            }
        }
    }
}

/// Agents: the nodes that sessions run on.
#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Registers an agent or records its heartbeat; what is left out stays as it is.
    #[command(
        after_help = "Example: occupancy agent put i-01 --slots cpu=64,mem=256g,cuda.shares=8\
                            \n         occupancy agent put i-01 --schedulable false"
    )]
    Put(AgentPut),
    /// Removes an agent that runs no kernel.
    #[command(after_help = "Example: occupancy agent drop i-01")]
    Drop { agent_id: String },
    /// Marks agents as LOST whose last heartbeat is too old; they keep what they hold.
    #[command(after_help = "Example: occupancy agent sweep --ttl 60s")]
    Sweep {
        /// How old a heartbeat may be.
        #[arg(long, value_parser = input::span)]
        ttl: Duration,
    },
    /// Frees the kernels of an agent that is gone for good.
    #[command(after_help = "Example: occupancy agent evacuate i-01")]
    Evacuate { agent_id: String },
    /// Lists every agent with what is occupied of it.
    #[command(after_help = "Example: occupancy agent list")]
    List,
}

#[derive(Debug, Args)]
pub(super) struct AgentPut {
    agent_id: String,
    /// Its capacity; a new agent must state it.
    #[arg(long, value_name = "SLOTS", value_parser = input::slots)]
    slots: Option<ResourceSlots>,
    /// The resource group; new agents without one are in `default`.
    #[arg(long)]
    group: Option<String>,
    /// ALIVE (the default of every call), LOST, RESTARTING or TERMINATED.
    #[arg(long)]
    status: Option<String>,
    /// Whether it may be given new sessions; false drains it.
    #[arg(long)]
    schedulable: Option<bool>,
}

impl Agent {
    pub(super) async fn run(self, agents: &AgentRegistry, json: bool) -> Result<Verdict> {
        match self {
            Self::Put(put) => {
                let heartbeat = Heartbeat {
                    agent_id: put.agent_id,
                    available_slots: put.slots,
                    resource_group: put.group,
                    status: put.status.map(AgentStatus::from),
                    schedulable: put.schedulable,
                };
                report_put(&agents.put_agent(&heartbeat).await?, json)
            }
            Self::Drop { agent_id } => report_drop(&agents.drop_agent(&agent_id).await?, json),
            Self::Sweep { ttl } => {
                let lost = agents.sweep_agents(ttl).await?;
                if lost.is_empty() && !json {
                    output::line("none is lost")?;
                    return Ok(Verdict::Fine);
                }
                output::rows(json, &lost, ["lost", "last heartbeat"], |agent| {
                    [agent.agent_id.clone(), output::time(agent.heartbeat_at)]
                })?;
                Ok(Verdict::Fine)
            }
            Self::Evacuate { agent_id } => evacuate(agents, &agent_id, json).await,
            Self::List => {
                let occupancies = agents.agent_occupancy().await?;
                let header = ["agent", "group", "status", "schedulable", "occupied", "available"];
                output::rows(json, &occupancies, header, |agent| {
                    [
                        agent.agent_id.clone(),
                        agent.resource_group.clone(),
                        agent.status.to_string(),
                        yes_or_no(agent.schedulable),
                        output::slots(&agent.occupied_slots),
                        output::slots(&agent.available_slots),
                    ]
                })?;
                Ok(Verdict::Fine)
            }
        }
    }
}

async fn evacuate(agents: &AgentRegistry, agent_id: &str, json: bool) -> Result<Verdict> {
    let freed = agents.evacuate_agent(agent_id).await?;
    if freed.is_empty() && !json {
        output::line("it runs no kernel")?;
        return Ok(Verdict::Fine);
    }
    output::rows(json, &freed, ["kernel", "session", "session ended"], |kernel| {
        [
            kernel.kernel_id.to_string(),
            output::or_dash(kernel.session_id),
            yes_or_no(kernel.session_ended == Some(true)),
        ]
    })?;
    Ok(Verdict::Fine)
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn report_put(outcome: &PutOutcome, json: bool) -> Result<Verdict> {
    output::either(json, &json!({ "outcome": outcome }), outcome)?;
    Ok(Verdict::Fine)
}

fn report_drop(outcome: &DropOutcome, json: bool) -> Result<Verdict> {
    output::either(json, &json!({ "outcome": outcome }), outcome.as_str().replace('_', " "))?;
    Ok(Verdict::rejected_if(*outcome == DropOutcome::InUse))
}
