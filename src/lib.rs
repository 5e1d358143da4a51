//! Exact concurrency limits and agent occupancy for session platforms, in PostgreSQL alone.
//!
//! Two numbers must be right at every moment: how many sessions each access key runs, and how much
//! of each agent is occupied. Stored functions change both in one transaction; this crate brings
//! them ([`schema`]) and a thin client for them.
//!
//! A process builds three things once and hands out the latter two:
//! [`Handles`] from a [`Config`], a [`ConcurrencyTracker`], and an [`AgentRegistry`].
//!
//! | where | what |
//! |---|---|
//! | `config`, `conninfo`, `passfile` | connection settings, as libpq reads them |
//! | `connect`, `tls` | the one place that opens a connection, and its encryption |
//! | `pool`, `retry`, `call` | connections, repetition, and the one place that sends a call |
//! | `statements` | every SQL text that the client sends |
//! | `tracker`, `agents` | a method per function |
//! | `lease` | the process as a holder: registered, beating, fenced |
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
mod lease;
mod model;
mod passfile;
mod pool;
mod retry;
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
pub use lease::{Lease, LeaseCounters, LeaseOptions, LeaseState};
pub use model::*;
pub use pool::{Handles, Pooled};
pub use retry::RetryPolicy;
pub use slots::{Amount, ResourceSlots};
pub use tracker::ConcurrencyTracker;

#[doc(hidden)]
pub use call::Statement;
#[doc(hidden)]
pub use statements::ALL as STATEMENTS;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
