//! The designs that came before, and this one, in the same situations.
//!
//! `old.sql` and `old.rs` build what session platforms did: a count in one store, the sessions in
//! another. Nothing here depends on time: each scenario is one order of steps, taken one by one. The
//! table that comes out is the one in `docs/before-after.md`.

mod new;
mod old;

use std::fmt;

use self::old::Design;

/// What may happen on any day.
#[derive(Clone, Copy, Debug)]
enum Scenario {
    Retry,
    Loop,
    TwoManagers,
    Crash,
    Kernels,
    Recalculation,
    LimitOne,
    EndsByItself,
}

/// What runs at the end, and what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    runs: i64,
    counted: i64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.runs, self.counted)
    }
}

/// Each with its name in the table, and the number of sessions that must run and be counted.
const SCENARIOS: [(Scenario, &str, i64); 8] = [
    (Scenario::Retry, "limit 2: the check of one session is retried twice", 1),
    (Scenario::Loop, "limit 3, 1 runs: 4 pending sessions in one loop", 3),
    (Scenario::TwoManagers, "limit 3, 1 runs: two managers, 2 pending sessions each", 3),
    (Scenario::Crash, "a manager dies between the two stores", 0),
    (Scenario::Kernels, "recalculation of one session of 3 kernels", 1),
    (Scenario::Recalculation, "a recalculation during a reservation", 1),
    (Scenario::LimitOne, "limit 1: two sessions, one after the other", 1),
    (Scenario::EndsByItself, "a session ends by itself", 0),
];

const DOCUMENT: &str = include_str!("../../docs/before-after.md");

#[tokio::test]
async fn what_the_older_designs_get_wrong_is_right_here_and_documented() {
    let mut table = vec![
        "| what happens | right | counter | set | Occupancy |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    let stores = old::stores().await;
    for (scenario, name, n) in SCENARIOS {
        let right = Count { runs: n, counted: n };
        let counter = old::play(&stores, Design::Counter, scenario).await;
        let set = old::play(&stores, Design::Set, scenario).await;
        let here = new::play(scenario).await;
        assert_eq!(here, right, "{scenario:?} here");
        assert!(counter != right || set != right, "{scenario:?} went well before");
        let cell =
            |count: Count| if count == right { count.to_string() } else { format!("**{count}**") };
        table.push(format!("| {name} | {right} | {} | {} | {here} |", cell(counter), cell(set)));
    }
    let table = table.join("\n");
    println!("{table}");
    assert!(DOCUMENT.contains(&table), "docs/before-after.md has another table than\n{table}");
}
