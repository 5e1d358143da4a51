//! The queue from Rust. It stands on the rest of the client, which knows nothing of it.
//!
//! | module | concern |
//! |---|---|
//! | `queue` | a method per function of the queue |
//! | `statements` | every SQL text that they send |
//! | `model` | what goes in and what comes out |

mod model;
mod queue;
mod statements;

pub use self::model::*;
pub use self::queue::Queue;

#[doc(hidden)]
pub use self::statements::ALL as STATEMENTS;
