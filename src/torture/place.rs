//! What there is to fight for: few keys and agents, under limits that bind all the time.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use uuid::Uuid;

use crate::error::Result;
use crate::handles::Handles;
use crate::model::{
    DefaultForUnspecified, Heartbeat, Keypair, Quota, Reservation, ResourcePolicy, Scope,
    SessionType,
};
use crate::slots::ResourceSlots;
use crate::workload::amount;

const KEYS: [(&str, &str); 4] =
    [("AK-0", "ada"), ("AK-1", "ada"), ("AK-2", "bob"), ("AK-3", "bob")];
const AGENTS: [&str; 4] = ["i-0", "i-1", "i-2", "i-3"];
const DOMAIN: &str = "lab";
const PROJECT: &str = "vision";
const GROUP: &str = "default";

const KEY_SESSIONS: i64 = 3;
const KEY_SYSTEM_SESSIONS: i64 = 1;
const KEY_CPU: i64 = 8;
const USER_SESSIONS: i64 = 4;
const PROJECT_SESSIONS: i64 = 5;
const GROUP_CPU: i64 = 16;
const DOMAIN_SESSIONS: i64 = 8;
const AGENT_CPU: i64 = 5;

/// Registers everything.
pub(super) async fn set_up(handles: &Handles) -> Result<()> {
    let tracker = handles.tracker();
    tracker
        .put_resource_policy(&ResourcePolicy {
            max_concurrent_sessions: Some(KEY_SESSIONS),
            max_concurrent_system_sessions: Some(KEY_SYSTEM_SESSIONS),
            total_resource_slots: Some(ResourceSlots::new().with("cpu", KEY_CPU)),
            default_for_unspecified: DefaultForUnspecified::Unlimited,
            ..ResourcePolicy::new("tight")
        })
        .await?;
    for (key, user) in KEYS {
        let domain = Some(DOMAIN.to_owned());
        tracker.put_keypair(&Keypair { domain, ..Keypair::new(key, user, "tight") }).await?;
    }
    let sessions = |scope, id: &str, most| Quota {
        max_concurrent_sessions: Some(most),
        ..Quota::new(scope, id)
    };
    for user in ["ada", "bob"] {
        tracker.put_quota(&sessions(Scope::User, user, USER_SESSIONS)).await?;
    }
    tracker.put_quota(&sessions(Scope::Project, PROJECT, PROJECT_SESSIONS)).await?;
    tracker.put_quota(&sessions(Scope::Domain, DOMAIN, DOMAIN_SESSIONS)).await?;
    let cpu = Some(ResourceSlots::new().with("cpu", GROUP_CPU));
    let group = Quota { total_resource_slots: cpu, ..Quota::new(Scope::ResourceGroup, GROUP) };
    tracker.put_quota(&group).await?;
    for agent in AGENTS {
        let capacity = ResourceSlots::new().with("cpu", AGENT_CPU).with("cuda.shares", 1);
        let heartbeat = Heartbeat { available_slots: Some(capacity), ..Heartbeat::new(agent) };
        handles.agents().put_agent(&heartbeat).await?;
    }
    Ok(())
}

/// A session that somebody could want.
pub(super) fn wish(rng: &mut StdRng) -> Reservation {
    let (key, _) = KEYS[rng.random_range(0..KEYS.len())];
    let mut reservation = Reservation::new(Uuid::now_v7(), key);
    if rng.random_bool(0.1) {
        reservation = reservation.with_type(SessionType::System);
    } else if rng.random_bool(0.5) {
        reservation = reservation.with_project(PROJECT);
    }
    for _ in 0..rng.random_range(1..=2) {
        let agent = AGENTS[rng.random_range(0..AGENTS.len())];
        let mut slots = ResourceSlots::new().with("cpu", rng.random_range(1..=2_u32));
        if rng.random_bool(0.3) {
            slots = slots.with("cuda.shares", "0.5");
        }
        reservation = reservation.with_kernel_id(Uuid::now_v7(), agent, slots);
    }
    reservation
}

/// Less than was asked for: what an agent reports of it keeps every limit.
pub(super) fn settled() -> ResourceSlots {
    ResourceSlots::new().with("cpu", 1)
}

/// How much of each counter a running session takes, and how much of it there is.
pub(super) fn charges(reservation: &Reservation) -> BTreeMap<String, (i128, i128)> {
    let key = &reservation.access_key;
    let user = KEYS.iter().find(|(name, _)| name == key).map_or("nobody", |(_, user)| user);
    let mut charges = BTreeMap::new();
    let mut charge = |counter: String, amount: i128, limit: i64| {
        let entry = charges.entry(counter).or_insert((0, i128::from(limit) * amount::ONE));
        entry.0 += amount;
    };
    let system = reservation.session_type == SessionType::System;
    if system {
        charge(format!("system sessions of {key}"), amount::ONE, KEY_SYSTEM_SESSIONS);
    } else {
        charge(format!("sessions of {key}"), amount::ONE, KEY_SESSIONS);
        charge(format!("sessions of user {user}"), amount::ONE, USER_SESSIONS);
        charge(format!("sessions of domain {DOMAIN}"), amount::ONE, DOMAIN_SESSIONS);
        if reservation.project.is_some() {
            charge(format!("sessions of project {PROJECT}"), amount::ONE, PROJECT_SESSIONS);
        }
    }
    for kernel in &reservation.kernels {
        let cpu = kernel.slots.get("cpu").and_then(amount::parse).unwrap_or_default();
        charge(format!("cpu of agent {}", kernel.agent), cpu, AGENT_CPU);
        if !system {
            charge(format!("cpu of {key}"), cpu, KEY_CPU);
            charge(format!("cpu of resource group {GROUP}"), cpu, GROUP_CPU);
        }
    }
    charges
}
