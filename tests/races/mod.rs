//! What happens when many act at once, on real connections.
//!
//! Every test tells the story of its race first. Where an interleaving matters it is forced: one
//! connection holds a lock, and the test goes on when PostgreSQL says that the others wait for it.

mod crowds;
mod endings;
mod holders;
mod long;
mod recalculations;
mod registry;
mod turns;

use std::collections::BTreeMap;

use crate::support::platform::Admission;

/// A query that locks the row of the key `AK`.
const KEY: &str = "select from occupancy.keypair where access_key = 'AK' for update";

/// How many got which verdict.
fn tally(answers: &[Admission]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(answer.verdict()).or_default() += 1;
    }
    tally
}

/// A tally as tests expect it.
fn verdicts<const N: usize>(verdicts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    verdicts.into_iter().map(|(verdict, n)| (verdict.to_owned(), n)).collect()
}
