//! The test suite, one binary so that it links once.

mod admission;
mod cli;
mod client;
mod counting;
mod ending;
mod races;
mod registry;
mod replay;
mod schema;
mod server;
mod slots;
mod support;
