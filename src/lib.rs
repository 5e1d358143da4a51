//! Exact concurrency limits and agent occupancy for session platforms, in PostgreSQL alone.

mod agents;
mod call;
mod config;
pub mod error;
mod model;
mod passfile;
mod pool;
mod retry;
pub mod schema;
mod slots;
mod statements;
mod tracker;

pub use agents::AgentRegistry;
pub use call::{Executor, Within};
pub use config::Config;
pub use error::{Code, Error, ErrorKind, Result};
pub use model::*;
pub use pool::{Handles, Pooled};
pub use retry::RetryPolicy;
pub use slots::{Amount, ResourceSlots};
pub use tracker::ConcurrencyTracker;

#[doc(hidden)]
pub use call::Statement;
#[doc(hidden)]
pub use statements::ALL as STATEMENTS;
