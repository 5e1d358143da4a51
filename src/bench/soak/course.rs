//! How far the clients are, together, and how fast they went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many pairs, unless the time is up before.
pub(super) struct Course {
    pairs: u64,
    limit: Option<Duration>,
    started: Instant,
    taken: AtomicU64,
    pace: Mutex<Pace>,
}

impl Course {
    /// Begins now.
    pub(super) fn begin(pairs: u64, limit: Option<Duration>) -> Self {
        let (taken, pace) = (AtomicU64::new(0), Mutex::default());
        Self { pairs, limit, started: Instant::now(), taken, pace }
    }

    /// Whether there is another pair to do, and time for it.
    pub(super) fn take(&self) -> bool {
        self.limit.is_none_or(|limit| self.started.elapsed() < limit)
            && self.taken.fetch_add(1, Ordering::Relaxed) < self.pairs
    }

    pub(super) fn finish(&self) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked up in here: what comes later was later.
        pace.note(self.started.elapsed());
    }

    pub(super) fn made(&self) -> u64 {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).made
    }

    pub(super) fn pace(&self) -> Pace {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Of so many pairs as there are to do, how many it would be if they came evenly.
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 pairs")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of a share")]
    pub(super) fn progress(&self) -> u64 {
        let elapsed = self.started.elapsed().as_secs_f64();
        let share = self.limit.map_or(0.0, |limit| elapsed / limit.as_secs_f64());
        self.made().max((share.min(1.0) * self.pairs as f64) as u64)
    }
}

/// When each pair was done; of very many, when every second was, every fourth, and so on. How many
/// there will be, and so where their tenths end, is known only in the end.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    pub(super) made: u64,
    every: u64,
    marks: Vec<Duration>,
    last: Duration,
}

/// At least half as many pairs are marked, of more than these.
const MARKS: usize = 1 << 15;

impl Default for Pace {
    fn default() -> Self {
        Self { made: 0, every: 1, marks: Vec::new(), last: Duration::ZERO }
    }
}

impl Pace {
    fn note(&mut self, at: Duration) {
        self.made += 1;
        self.last = at;
        if self.made.is_multiple_of(self.every) {
            self.marks.push(at);
        }
        if self.marks.len() == MARKS {
            self.marks = self.marks.iter().skip(1).step_by(2).copied().collect();
            self.every *= 2;
        }
    }

    /// Until the last pair was done.
    pub(super) fn seconds(&self) -> f64 {
        self.last.as_secs_f64()
    }

    /// Pairs per second in each tenth of those that were made; none of fewer than ten.
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 pairs")]
    pub(super) fn speeds(&self) -> Vec<f64> {
        if self.made < 10 {
            return Vec::new();
        }
        let end_of = |tenths: u64| self.made * tenths / 10;
        (0..10)
            .map(|tenth| {
                let (from, to) = (end_of(tenth), end_of(tenth + 1));
                (to - from) as f64 / (self.when(to) - self.when(from)).max(1e-6)
            })
            .collect()
    }

    /// The second in which so many were done, of which fewer than all may be asked.
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 pairs")]
    pub(super) fn when(&self, pairs: u64) -> f64 {
        let mark = |nth: u64| match usize::try_from(nth) {
            Ok(0) => Some(Duration::ZERO),
            Ok(nth) => self.marks.get(nth - 1).copied(),
            Err(_) => None,
        };
        let (full, rest) = (pairs / self.every, pairs % self.every);
        let from = mark(full).unwrap_or(self.last).as_secs_f64();
        let (to, span) = match mark(full + 1) {
            Some(next) => (next, self.every),
            None => (self.last, self.made - full * self.every),
        };
        from + (to.as_secs_f64() - from) * rest as f64 / span.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evenly(pairs: u64, each: Duration) -> Pace {
        let mut pace = Pace::default();
        for pair in 1..=u32::try_from(pairs).expect("few") {
            pace.note(each * pair);
        }
        pace
    }

    #[test]
    fn a_course_is_as_long_as_it_was_asked_to_be() {
        for pairs in [1, 10, 99, 100] {
            let course = Course::begin(pairs, None);
            while course.take() {
                course.finish();
            }
            assert_eq!(course.made(), pairs);
            assert_eq!(course.pace().speeds().len(), if pairs < 10 { 0 } else { 10 });
        }
    }

    #[test]
    fn a_course_ends_when_its_time_is_up() {
        assert!(!Course::begin(10, Some(Duration::ZERO)).take());
        assert!(Course::begin(10, Some(Duration::MAX)).take());
    }

    #[test]
    fn tenths_are_of_what_was_made_however_much_that_is() {
        for pairs in [10, 99, 32_767, 32_768, 100_001, 1_000_000] {
            let pace = evenly(pairs, Duration::from_millis(2));
            assert!(pace.marks.len() < MARKS);
            for speed in pace.speeds() {
                assert!((speed - 500.0).abs() < 0.5, "{pairs} pairs: {speed}");
            }
        }
    }

    #[test]
    fn a_tenth_that_took_longer_was_slower() {
        let mut pace = evenly(90_000, Duration::from_millis(1));
        for pair in 1..=10_000 {
            pace.note(Duration::from_secs(90) + Duration::from_millis(4) * pair);
        }
        let speeds = pace.speeds();
        assert!((speeds[0] - 1000.0).abs() < 1.0 && (speeds[9] - 250.0).abs() < 1.0, "{speeds:?}");
    }
}
