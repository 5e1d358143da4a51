//! The test suite, one binary so that it links once.

mod admission;
mod client;
mod counting;
mod ending;
mod races;
mod registry;
mod schema;
mod server;
mod slots;
mod support;
