//! The test suite, one binary so that it links once.

mod admission;
mod attacks;
mod before_after;
mod bench;
mod catalog;
mod cli;
mod client;
mod counting;
mod ending;
mod fuzz;
mod holders;
mod isolation;
mod model;
mod pgbouncer;
mod races;
mod registry;
mod repair;
mod replay;
mod roles;
mod schema;
mod secrets;
mod server;
mod slots;
mod support;
mod tls;
mod torture;
