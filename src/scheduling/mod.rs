//! The queue from Rust. It stands on the rest of the client, which knows nothing of it.
//!
//! | module | concern |
//! |---|---|
//! | `queue` | a method per function of the queue |
//! | `statements` | every SQL text that is sent for it |
//! | `model` | what goes in and what comes out |
//! | `scheduler` | a loop that ticks, and what it is told, does around a tick and counts: |
//! | `hooks`, `metrics`, `listener` | |
//! | `herald` | tells other processes that there may be room |

mod herald;
mod hooks;
mod listener;
mod metrics;
mod model;
mod queue;
mod scheduler;
pub(crate) mod statements;

pub(crate) use self::herald::herald;
pub use self::hooks::{Hooks, TickReport};
pub use self::listener::{Hearing, WakeUp};
pub use self::metrics::SchedulerMetrics;
pub use self::model::*;
pub use self::queue::Queue;
pub(crate) use self::scheduler::busy_pause;
pub use self::scheduler::{Cause, Scheduler, SchedulerOptions, SchedulerState};

#[doc(hidden)]
pub use self::statements::ALL as STATEMENTS;
