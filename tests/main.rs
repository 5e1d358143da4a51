//! The test suite, one binary so that it links once.

mod client;
mod isolation;
mod races;
mod schema;
mod server;
mod support;
