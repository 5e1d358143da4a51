//! Exact concurrency limits and agent occupancy for session platforms, in PostgreSQL alone.

pub mod cli;
pub mod error;
pub mod server;
