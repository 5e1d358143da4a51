//! Exact concurrency limits and agent occupancy for session platforms, in PostgreSQL alone.

pub mod error;
pub mod schema;
