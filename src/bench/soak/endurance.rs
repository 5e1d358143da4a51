//! What became of a long run, and which goals it reached.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::soak::growth::{GROWTH, Growth};

/// What a run is to reach: the speed of its last tenth, of the first; the share of updates in place.
const SPEED: f64 = 0.9;
const IN_PLACE: f64 = 0.95;
/// A shorter run tells nothing of speed, as each tenth is to take a second, nor of updates in place, as
/// the first ones meet rows that nobody has pruned yet.
const SHORTEST: f64 = 10.0;

/// What became of a long run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Endurance {
    /// Whether another connection left a transaction idle meanwhile, which keeps vacuum from
    /// removing anything.
    pub(crate) idle_transaction: bool,
    /// How many were made, of how many. Fewer: the time was up.
    pub(crate) pairs: u64,
    pub(crate) pairs_planned: u64,
    pub(crate) complete: bool,
    pub(crate) seconds: f64,
    /// When no further pair would be begun.
    pub(crate) limit_seconds: Option<f64>,
    pub(crate) clients: usize,
    pub(crate) retention_seconds: f64,
    /// Of each tenth of the pairs that were made; empty if they were fewer than ten.
    pub(crate) pairs_per_second: Vec<f64>,
    /// The last tenth to the first.
    pub(crate) ratio: Option<f64>,
    pub(crate) errors: u64,
    /// Ended sessions that were forgotten.
    pub(crate) pruned: i64,
    /// The share of updates that stayed in their page and touched no index, by table; empty if the
    /// server did not count them all.
    pub(crate) hot_share: BTreeMap<String, f64>,
    pub(crate) relations: Vec<Growth>,
    /// Whether the first tenth took so long that autovacuum came by. Before it does everything grows,
    /// and sizes tell nothing.
    pub(crate) sizes_settled: bool,
    #[serde(flatten)]
    pub(crate) goals: Goals,
}

/// In words: which goals were not reached, and of which nothing can be said.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Goals {
    pub(crate) missed: Vec<String>,
    pub(crate) not_judged: Vec<String>,
    /// All of them, in a run that was made to its end.
    #[serde(rename = "goals_reached")]
    pub(crate) all_reached: bool,
}

impl Endurance {
    pub(super) fn judged(mut self) -> Self {
        let (missed, not_judged) = (self.missed(), self.not_judged());
        let all_reached = missed.is_empty() && not_judged.is_empty();
        self.goals = Goals { missed, not_judged, all_reached };
        self
    }

    fn is_long_enough(&self) -> bool {
        self.seconds >= SHORTEST
    }

    /// The last tenth to the first, if that means anything.
    fn telling_ratio(&self) -> Option<f64> {
        self.ratio.filter(|_| self.is_long_enough())
    }

    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if let Some(ratio) = self.telling_ratio().filter(|ratio| *ratio < SPEED) {
            missed.push(format!("the last tenth ran at {ratio:.2} of the first, not at {SPEED}"));
        }
        let low = self.hot_share.iter().filter(|(_, share)| **share < IN_PLACE);
        for (table, share) in low.filter(|_| self.is_long_enough()) {
            let (share, goal) = (share * 100.0, IN_PLACE * 100.0);
            missed.push(format!(
                "{share:.1} % of the updates of {table} were in place, not {goal} %"
            ));
        }
        let beyond = self.relations.iter().filter(|growth| growth.is_beyond());
        for growth in beyond.filter(|_| self.sizes_settled) {
            let kib = |bytes| bytes / 1024;
            let (first, end) = (kib(growth.first_tenth_bytes), kib(growth.end_bytes));
            missed.push(format!(
                "{} grew from {first} to {end} KiB, to more than {GROWTH} times its size",
                growth.relation
            ));
        }
        if self.errors > 0 {
            missed.push(format!("{} calls had to be repeated, not 0", self.errors));
        }
        missed
    }

    fn not_judged(&self) -> Vec<String> {
        let all = self.pairs_planned;
        let reasons = [
            (
                !self.complete,
                format!("all {all} pairs, since the time was up after {}", self.pairs),
            ),
            (
                self.telling_ratio().is_none(),
                format!("speed, since that takes 10 pairs and {SHORTEST} s; more pairs would do"),
            ),
            (
                self.hot_share.is_empty(),
                "updates in place, since the server did not count them all".to_owned(),
            ),
            (
                !self.is_long_enough(),
                format!("updates in place, since that takes {SHORTEST} s; more pairs would do"),
            ),
            (
                !self.sizes_settled,
                "sizes, since the first tenth was over before autovacuum came \
                 (autovacuum_naptime); more pairs would do"
                    .to_owned(),
            ),
        ];
        reasons.into_iter().filter_map(|(applies, reason)| applies.then_some(reason)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flawless() -> Endurance {
        Endurance {
            idle_transaction: false,
            pairs: 1000,
            pairs_planned: 1000,
            complete: true,
            seconds: 10.0,
            limit_seconds: None,
            clients: 1,
            retention_seconds: 1.0,
            pairs_per_second: vec![100.0; 10],
            ratio: Some(0.9),
            errors: 0,
            pruned: 0,
            hot_share: BTreeMap::from([("agent".to_owned(), 1.0), ("keypair".to_owned(), 0.95)]),
            relations: vec![growth(false, 3.0), growth(true, 10.0)],
            sizes_settled: true,
            goals: Goals::default(),
        }
    }

    fn growth(remembers: bool, factor: f64) -> Growth {
        Growth {
            relation: "keypair".to_owned(),
            remembers,
            first_tenth_bytes: 1 << 20,
            end_bytes: 4 << 20,
            factor: Some(factor),
        }
    }

    #[test]
    fn goals_are_reached_by_what_is_neither_missed_nor_open() {
        let goals = flawless().judged().goals;
        assert_eq!((goals.missed.len(), goals.not_judged.len()), (0, 0), "{goals:?}");
        assert!(goals.all_reached);
    }

    #[test]
    fn every_goal_that_is_missed_is_told() {
        let run = Endurance {
            ratio: Some(0.5),
            errors: 1,
            hot_share: BTreeMap::from([("agent".to_owned(), 1.0), ("keypair".to_owned(), 0.9)]),
            relations: vec![growth(false, 4.0)],
            ..flawless()
        };
        let goals = run.judged().goals;
        assert_eq!(
            goals.missed,
            [
                "the last tenth ran at 0.50 of the first, not at 0.9",
                "90.0 % of the updates of keypair were in place, not 95 %",
                "keypair grew from 1024 to 4096 KiB, to more than 3 times its size",
                "1 calls had to be repeated, not 0",
            ]
        );
        assert_eq!((goals.not_judged.len(), goals.all_reached), (0, false));
    }

    #[test]
    fn no_goal_is_claimed_of_what_was_not_seen() {
        let few = Endurance { ratio: Some(0.1), seconds: 9.9, ..flawless() };
        let low = BTreeMap::from([("keypair".to_owned(), 0.9)]);
        let few = Endurance { hot_share: low, ..few };
        let fewer = Endurance { ratio: None, pairs_per_second: Vec::new(), ..flawless() };
        let uncounted = Endurance { hot_share: BTreeMap::new(), ..flawless() };
        let unsettled =
            Endurance { sizes_settled: false, relations: vec![growth(false, 4.0)], ..flawless() };
        let cut = Endurance { pairs: 70, complete: false, ..flawless() };
        for (run, open) in [
            (few, &["speed, ", "updates in place, "][..]),
            (fewer, &["speed, "]),
            (uncounted, &["updates in place, "]),
            (unsettled, &["sizes, "]),
            (cut, &["all 1000 pairs, since the time was up after 70"]),
        ] {
            let goals = run.judged().goals;
            assert_eq!((goals.missed.len(), goals.not_judged.len()), (0, open.len()), "{goals:?}");
            for (told, what) in goals.not_judged.iter().zip(open) {
                assert!(told.starts_with(what), "{goals:?}");
            }
            assert!(!goals.all_reached);
        }
    }
}
