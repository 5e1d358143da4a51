//! Random calls: what can be asked, of few enough things that they meet.

use std::ops::Range;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::world::{Limits, ONE, Request, SCOPES, Slots, Wanted};

/// Amounts with the ways in which callers write them.
const AMOUNTS: [(&str, i128); 9] = [
    ("1", ONE),
    ("\"2.50\"", 5 * ONE / 2),
    ("3", 3 * ONE),
    ("\" +1e1 \"", 10 * ONE),
    ("0.1", ONE / 10),
    ("\"0.333333333333\"", 333_333_333_333),
    ("\"1k\"", 1024 * ONE),
    ("\".5KiB\"", 512 * ONE),
    ("0", 0),
];

const NAMES: [&str; 3] = ["cpu", "mem", "cuda.shares"];

/// Slots as a caller writes them: which amount of which name.
#[derive(Clone, Debug)]
pub(super) struct Written(Vec<(&'static str, usize)>);

impl Written {
    pub(super) fn json(&self) -> Value {
        let entry = |(name, n): &(&str, usize)| {
            let amount = AMOUNTS.get(*n).map_or("\"Infinity\"", |amount| amount.0);
            ((*name).to_owned(), serde_json::from_str::<Value>(amount).expect("JSON"))
        };
        self.0.iter().map(entry).collect()
    }

    pub(super) fn slots(&self) -> Slots {
        let amounts = self.0.iter().map(|(name, n)| (*name, AMOUNTS[*n].1));
        amounts.filter(|(_, amount)| *amount != 0).collect()
    }

    pub(super) fn limits(&self) -> Limits {
        self.0.iter().map(|(name, n)| (*name, AMOUNTS.get(*n).map(|amount| amount.1))).collect()
    }
}

/// A reservation as a caller words it.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    pub(super) session: u8,
    key: u8,
    session_type: &'static str,
    project: Option<u8>,
    /// Id, agent, slots.
    kernels: Vec<(Option<u8>, u8, Written)>,
}

/// A call of a function.
#[derive(Clone, Debug)]
pub(super) enum Step {
    PutPolicy {
        policy: u8,
        max_sessions: Option<i64>,
        max_system: Option<i64>,
        total: Option<Written>,
        limited: bool,
        max_kernels: Option<i64>,
    },
    PutKeypair {
        key: u8,
        user: u8,
        policy: u8,
        active: bool,
        domain: Option<u8>,
    },
    PutQuota {
        scope: &'static str,
        id: u8,
        max_sessions: Option<i64>,
        total: Option<Written>,
        limited: bool,
    },
    PutAgent {
        agent: u8,
        available: Option<Written>,
        group: Option<u8>,
        status: Option<&'static str>,
        schedulable: Option<bool>,
    },
    DropPolicy(u8),
    DropKeypair(u8),
    DropQuota(&'static str, u8),
    DropAgent(u8),
    Reserve(Reservation),
    /// Again what one of the last calls asked for.
    Repeat(usize),
    ReserveBatch(Vec<Reservation>),
    Check(Reservation),
    Release(u8),
    ReleaseBatch(Vec<u8>),
    Terminate(u8),
    /// Of one of the kernels that are known.
    ReleaseKernel(usize),
    Settle(usize, Written),
    Clear(u8),
    Prune,
    Recalculate,
}

pub(super) fn session_id(n: u8) -> Uuid {
    Uuid::from_u128(0x5e55_0000 + u128::from(n))
}

fn kernel_id(n: u8) -> Uuid {
    Uuid::from_u128(0xce11_0000 + u128::from(n))
}

impl Reservation {
    pub(super) fn request(&self) -> Request {
        let kernels = self.kernels.iter().map(|(id, agent, slots)| Wanted {
            id: id.map(kernel_id),
            agent: format!("a{agent}"),
            slots: slots.slots(),
        });
        Request {
            id: session_id(self.session),
            key: format!("K{}", self.key),
            session_type: self.session_type,
            project: self.project.map(|project| format!("p{project}")),
            kernels: kernels.collect(),
        }
    }

    /// The `kernels` argument.
    pub(super) fn kernels(&self) -> Value {
        let kernel = |(id, agent, slots): &(Option<u8>, u8, Written)| {
            let mut kernel = json!({"agent": format!("a{agent}"), "slots": slots.json()});
            if let Some(id) = id {
                kernel["kernel_id"] = json!(kernel_id(*id));
            }
            kernel
        };
        self.kernels.iter().map(kernel).collect()
    }
}

fn written(amounts: impl Strategy<Value = usize>) -> impl Strategy<Value = Written> {
    btree_map(0..NAMES.len(), amounts, 0..3)
        .prop_map(|slots| Written(slots.into_iter().map(|(name, n)| (NAMES[name], n)).collect()))
}

fn slots() -> impl Strategy<Value = Written> {
    written(prop_oneof![6 => 0..2_usize, 3 => 4..6_usize, 1 => 0..AMOUNTS.len()])
}

/// Mostly large ones, among them infinity.
fn limits() -> impl Strategy<Value = Written> {
    written(
        prop_oneof![3 => 0..3_usize, 1 => 0..AMOUNTS.len(), 3 => Just(3_usize), 1 => Just(AMOUNTS.len())],
    )
}

fn reservation() -> impl Strategy<Value = Reservation> {
    let kernel = (option::weighted(0.3, 0..40_u8), mostly(0..4, 4), slots());
    let session_type = prop_oneof![
        5 => Just("interactive"), 1 => Just("batch"), 1 => Just("inference"), 2 => Just("system")
    ];
    (0..30_u8, mostly(0..3, 3), session_type, option::weighted(0.4, 0..2_u8), vec(kernel, 1..4))
        .prop_map(|(session, key, session_type, project, kernels)| Reservation {
            session,
            key,
            session_type,
            project,
            kernels,
        })
}

/// One of those that are there from the beginning, and now and then another one.
fn mostly(present: Range<u8>, other: u8) -> impl Strategy<Value = u8> {
    prop_oneof![15 => present, 1 => Just(other)]
}

fn scope() -> impl Strategy<Value = &'static str> {
    prop::sample::select(SCOPES.to_vec())
}

fn registry() -> impl Strategy<Value = Step> {
    let maximum = || option::weighted(0.7, prop_oneof![6 => 1..9_i64, 1 => Just(0)]);
    let kernels = option::weighted(0.3, 1..4_i64);
    let status = prop_oneof![
        8 => Just(None),
        1 => prop::sample::select(["ALIVE", "LOST", "RESTARTING", "TERMINATED"].map(Some).to_vec()),
    ];
    prop_oneof![
        2 => (0..2_u8, maximum(), maximum(), option::of(limits()), any::<bool>(), kernels)
            .prop_map(|(policy, max_sessions, max_system, total, limited, max_kernels)| {
                Step::PutPolicy { policy, max_sessions, max_system, total, limited, max_kernels }
            }),
        2 => (0..4_u8, 0..2_u8, 0..2_u8, prop::bool::weighted(0.9), option::of(0..1_u8)).prop_map(
            |(key, user, policy, active, domain)| {
                Step::PutKeypair { key, user, policy, active, domain }
            }
        ),
        3 => (scope(), 0..2_u8, maximum(), option::of(limits()), prop::bool::weighted(0.2))
            .prop_map(|(scope, id, max_sessions, total, limited)| {
                Step::PutQuota { scope, id, max_sessions, total, limited }
            }),
        3 => (
            0..5_u8,
            option::of(limits().prop_filter("infinity is no capacity", |limits| {
                limits.0.iter().all(|(_, n)| *n < AMOUNTS.len())
            })),
            option::weighted(0.2, 0..2_u8),
            status,
            option::weighted(0.3, prop::bool::weighted(0.7)),
        )
            .prop_map(|(agent, available, group, status, schedulable)| {
                Step::PutAgent { agent, available, group, status, schedulable }
            }),
        1 => (0..2_u8).prop_map(Step::DropPolicy),
        1 => (0..4_u8).prop_map(Step::DropKeypair),
        2 => (scope(), 0..2_u8).prop_map(|(scope, id)| Step::DropQuota(scope, id)),
        1 => (0..5_u8).prop_map(Step::DropAgent),
    ]
}

/// Any call.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => registry(),
        20 => reservation().prop_map(Step::Reserve),
        5 => (0..8_usize).prop_map(Step::Repeat),
        5 => vec(reservation(), 0..5).prop_map(Step::ReserveBatch),
        3 => reservation().prop_map(Step::Check),
        5 => (0..30_u8).prop_map(Step::Release),
        2 => vec(0..30_u8, 0..5).prop_map(Step::ReleaseBatch),
        3 => (0..30_u8).prop_map(Step::Terminate),
        4 => (0..64_usize).prop_map(Step::ReleaseKernel),
        4 => (0..64_usize, slots()).prop_map(|(n, slots)| Step::Settle(n, slots)),
        1 => (0..4_u8).prop_map(Step::Clear),
        2 => Just(Step::Prune),
        1 => Just(Step::Recalculate),
    ]
}

/// Any calls.
pub(super) fn script() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 100..300)
}
