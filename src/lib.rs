//! Exact concurrency limits and agent occupancy for session platforms, in PostgreSQL alone.
//!
//! Two numbers must be right at every moment: how many sessions each access key runs, and how much
//! of each agent is occupied. Stored functions change both in one transaction; this crate brings
//! them ([`schema`]) and a thin client for them.
//!
//! A process builds [`Handles`] from a [`Config`] once, and hands out what they hold: a
//! [`ConcurrencyTracker`], an [`AgentRegistry`] and, for sessions that may wait, a [`Queue`], which
//! a [`Scheduler`] ticks.
//!
//! | where | what |
//! |---|---|
//! | `config`, `conninfo`, `passfile` | connection settings, as libpq reads them |
//! | `connect`, `tls` | the one place that opens a connection, and its encryption |
//! | `pool`, `retry`, `call` | connections, repetition, and the one place that sends a call |
//! | `statements` | every SQL text that the client sends |
//! | `tracker`, `agents` | a method per function |
//! | `lease` | the process as a holder: registered, beating, fenced |
//! | `scheduling` | the queue: a method per function, and a loop that ticks; nothing above knows of it |
//! | `handles` | everything that a process is given, put together |
//! | `model`, `slots` | what goes in and what comes out |
//! | [`schema`] | the one runner for migrations and function sources |
//! | [`server`] | an embedded PostgreSQL, found and started by itself |
//! | `workload` | several managers at work: the demo and the replay of a trace |
//! | `bench` | what a reservation costs, beside the least that it could |
//! | `torture` | manager processes at work while one thing after the other breaks |
//! | [`cli`] | the `occupancy` command |

mod agents;
mod bench;
mod call;
pub mod cli;
mod config;
mod connect;
mod conninfo;
pub mod error;
mod handles;
mod lease;
mod model;
mod passfile;
mod pool;
mod retry;
mod scheduling;
pub mod schema;
pub mod server;
mod slots;
mod statements;
mod tls;
mod torture;
mod tracker;
mod workload;

pub use agents::AgentRegistry;
pub use call::{Executor, Within};
pub use config::Config;
pub use error::{Code, Error, ErrorKind, Result};
pub use handles::Handles;
pub use lease::{Lease, LeaseCounters, LeaseOptions, LeaseState};
pub use model::*;
pub use pool::Pooled;
pub use retry::RetryPolicy;
pub use scheduling::*;
pub use slots::{Amount, ResourceSlots};
pub use tracker::ConcurrencyTracker;

#[doc(hidden)]
pub use call::{Statement, Wakes};
#[doc(hidden)]
pub use scheduling::STATEMENTS as QUEUE_STATEMENTS;
#[doc(hidden)]
pub use statements::ALL as STATEMENTS;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
