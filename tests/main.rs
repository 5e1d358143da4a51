//! The test suite, one binary so that it links once.

mod admission;
mod catalog;
mod client;
mod counting;
mod ending;
mod races;
mod registry;
mod repair;
mod roles;
mod schema;
mod server;
mod slots;
mod support;
