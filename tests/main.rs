//! The test suite, one binary so that it links once.

mod client;
mod schema;
mod server;
mod slots;
mod support;
