//! Random calls: what can be asked, of few enough things that they meet.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::world::{Limits, NAMES, Policy, Request, SCOPES, Slots, Tick};

/// A call of a function.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Enqueue(u8, Request),
    /// Again what one of the last calls wanted to wait.
    Repeat(usize),
    Tick(Tick),
    /// One kernel, without the queue.
    Reserve(u8, Request),
    Cancel(u8),
    Release(u8),
    Terminate(u8),
    SetStatus(u8, &'static str),
    Expire(i64),
    Prune,
    /// So many minutes pass.
    Pass(i64),
    PutPolicy(Policy),
    PutKey {
        key: u8,
        user: u8,
        active: bool,
    },
    PutQuota {
        scope: &'static str,
        limits: Limits,
    },
    PutAgent {
        agent: u8,
        group: u8,
        usable: bool,
        available: Slots,
    },
    Recalculate,
}

/// Slots of amounts in tenths; a zero is written, and asks for nothing.
fn slots(amounts: &'static [i64]) -> impl Strategy<Value = Slots> {
    btree_map(prop::sample::select(NAMES.to_vec()), prop::sample::select(amounts.to_vec()), 0..3)
}

fn asked() -> impl Strategy<Value = Slots> {
    slots(&[1, 5, 10, 10, 15, 20, 40, 0])
        .prop_map(|slots| slots.into_iter().filter(|(_, amount)| *amount > 0).collect())
}

fn limits() -> impl Strategy<Value = Limits> {
    let max_sessions = option::weighted(0.6, prop_oneof![8 => 1..6_i64, 1 => Just(0)]);
    let total = option::weighted(0.5, slots(&[10, 25, 40, 60, 0]));
    (max_sessions, total, prop::bool::weighted(0.3))
        .prop_map(|(max_sessions, total, limited)| Limits { max_sessions, total, limited })
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        limits(),
        option::of(0..3_i64),
        option::weighted(0.4, 1..8_i64),
        option::weighted(0.3, slots(&[20, 40, 80])),
        option::weighted(0.2, 1..4_i64),
    )
        .prop_map(|(limits, max_system, max_pending, max_pending_slots, max_kernels)| Policy {
            limits,
            max_system,
            max_pending,
            max_pending_slots,
            max_kernels,
        })
}

/// An agent by its number; one in twenty is not there.
fn agent() -> impl Strategy<Value = String> {
    prop_oneof![19 => 0..6_u8, 1 => Just(9)].prop_map(|n| format!("a{n}"))
}

fn request() -> impl Strategy<Value = Request> {
    let starts_at = prop_oneof![3 => Just(None), 1 => (-20..60_i64).prop_map(Some)];
    let session_type = prop_oneof![
        5 => Just(("interactive", None)),
        3 => starts_at.prop_map(|starts_at| ("batch", starts_at)),
        2 => Just(("system", None)),
    ];
    let kernels = vec((option::weighted(0.12, agent()), asked()), 1..4);
    (
        0..3_u8,
        session_type,
        option::weighted(0.4, Just("p0".to_owned())),
        prop_oneof![4 => Just(0), 1 => Just(1)],
        prop_oneof![5 => Just(10), 1 => 0..=100_i64],
        prop_oneof![4 => Just(BTreeSet::default()), 1 => btree_set(0..24_u8, 1..3)],
        any::<bool>(),
        kernels,
    )
        .prop_map(
            |(
                key,
                (session_type, starts_at),
                project,
                group,
                priority,
                dependencies,
                multi_node,
                kernels,
            )| {
                Request {
                    key: format!("K{key}"),
                    session_type,
                    project,
                    group: format!("g{group}"),
                    priority,
                    starts_at,
                    dependencies,
                    multi_node,
                    kernels,
                }
            },
        )
}

fn reservation() -> impl Strategy<Value = Step> {
    (0..24_u8, request(), agent(), asked()).prop_map(|(n, request, agent, slots)| {
        Step::Reserve(n, Request { kernels: vec![(Some(agent), slots)], ..request })
    })
}

fn tick() -> impl Strategy<Value = Tick> {
    (
        prop_oneof![4 => Just(0), 1 => Just(1)],
        prop_oneof![1 => 1..4_usize, 3 => Just(100)],
        prop::sample::select(vec!["fifo", "lifo", "drf"]),
        prop::sample::select(vec!["concentrated", "dispersed", "roundrobin", "legacy"]),
        0..4_i64,
    )
        .prop_map(|(group, most, policy, selector, tries)| Tick {
            group,
            most,
            policy,
            selector,
            tries,
        })
}

fn registry() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => policy().prop_map(Step::PutPolicy),
        2 => (0..3_u8, 0..2_u8, prop::bool::weighted(0.8))
            .prop_map(|(key, user, active)| Step::PutKey { key, user, active }),
        3 => (prop::sample::select(SCOPES.to_vec()), limits())
            .prop_map(|(scope, limits)| Step::PutQuota { scope, limits }),
        4 => (0..6_u8, prop_oneof![4 => Just(0), 1 => Just(1)], prop::bool::weighted(0.8), slots(&[10, 30, 40, 40, 80, 0]))
            .prop_map(|(agent, group, usable, available)| {
                Step::PutAgent { agent, group, usable, available }
            }),
    ]
}

/// Any call.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => registry(),
        30 => (0..24_u8, request()).prop_map(|(n, request)| Step::Enqueue(n, request)),
        3 => (0..8_usize).prop_map(Step::Repeat),
        20 => tick().prop_map(Step::Tick),
        3 => reservation(),
        3 => (0..24_u8).prop_map(Step::Cancel),
        14 => (0..24_u8).prop_map(Step::Release),
        3 => (0..24_u8).prop_map(Step::Terminate),
        5 => (0..24_u8, prop::sample::select(vec!["RUNNING", "ERROR"]))
            .prop_map(|(n, status)| Step::SetStatus(n, status)),
        1 => (0..60_i64).prop_map(Step::Expire),
        4 => Just(Step::Prune),
        4 => (1..30_i64).prop_map(Step::Pass),
        1 => Just(Step::Recalculate),
    ]
}

/// Any calls.
pub(super) fn script() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 100..250)
}
