//! Repeating a call that failed for a passing reason.

use std::time::{Duration, Instant};

use tracing::{Span, warn};

use crate::error::{Error, Result};

/// How often, and for how long, a call of the pooled form is repeated after a transient error
/// (see [`Error::is_transient`]).
///
/// Between two attempts it waits for a random time between zero and a bound that starts at
/// [`first_pause`](Self::first_pause) and doubles up to [`longest_pause`](Self::longest_pause),
/// so that managers that failed together do not come back together. The default rides out a
/// restart or a failover of some seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts of one call, the first included; 1 repeats nothing. Default: 16.
    pub max_attempts: u32,
    /// The bound of the pause after the first attempt. Default: 20 ms.
    pub first_pause: Duration,
    /// The bound that no later pause exceeds. Default: 2 s.
    pub longest_pause: Duration,
    /// No attempt begins later than this after the call; one under way is left to finish.
    /// Default: 30 s.
    pub give_up_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 16,
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(2),
            give_up_after: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// A policy that repeats nothing.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Runs `attempt` until it succeeds, fails with an error that is not `passing`, or the
    /// policy is exhausted. The number of attempts is recorded in the current span.
    pub(crate) async fn run_while<T, Attempt>(
        &self,
        passing: impl Fn(&Error) -> bool,
        mut attempt: impl FnMut() -> Attempt,
    ) -> Result<T>
    where
        Attempt: Future<Output = Result<T>>,
    {
        let started = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = attempt().await;
            Span::current().record("attempts", attempts);
            let error = match result {
                Err(error) if passing(&error) && attempts < self.max_attempts => error,
                settled => return settled,
            };
            let pause = rand::random_range(Duration::ZERO..=self.bound(attempts));
            if started.elapsed() + pause > self.give_up_after {
                return Err(error);
            }
            report(&error, attempts, pause);
            tokio::time::sleep(pause).await;
        }
    }

    /// The longest pause after this many attempts.
    fn bound(&self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.first_pause.saturating_mul(doubled).min(self.longest_pause)
    }
}

fn report(error: &Error, attempts: u32, pause: Duration) {
    warn!(
        attempts,
        sqlstate = error.sqlstate(),
        pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        "{error}; trying again"
    );
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::ErrorKind;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            first_pause: Duration::from_micros(1),
            longest_pause: Duration::from_micros(3),
            give_up_after: Duration::from_secs(5),
        }
    }

    /// The result, and how many attempts it took, of a call that fails `failures` times.
    async fn call(policy: RetryPolicy, kind: ErrorKind, failures: u32) -> (Result<()>, u32) {
        let attempts = Cell::new(0);
        let result = policy
            .run_while(Error::is_transient, || {
                attempts.set(attempts.get() + 1);
                let failed = attempts.get() <= failures;
                async move { if failed { Err(Error::new(kind, "no")) } else { Ok(()) } }
            })
            .await;
        (result, attempts.get())
    }

    #[tokio::test]
    async fn a_transient_error_is_repeated_until_it_passes() {
        let (result, attempts) = call(policy(), ErrorKind::Connection, 3).await;
        assert!(result.is_ok());
        assert_eq!(attempts, 4);
    }

    #[tokio::test]
    async fn attempts_are_bounded() {
        let (result, attempts) = call(policy(), ErrorKind::Connection, u32::MAX).await;
        assert!(result.is_err());
        assert_eq!(attempts, 5);
        let (_, attempts) = call(RetryPolicy::never(), ErrorKind::Connection, 1).await;
        assert_eq!(attempts, 1);
    }

    #[tokio::test]
    async fn total_time_is_bounded() {
        let policy = RetryPolicy { give_up_after: Duration::ZERO, ..policy() };
        let (result, attempts) = call(policy, ErrorKind::Connection, u32::MAX).await;
        assert!(result.is_err());
        assert_eq!(attempts, 1);
    }

    #[tokio::test]
    async fn a_lasting_error_is_not_repeated() {
        let (result, attempts) = call(policy(), ErrorKind::Database, 1).await;
        assert!(result.is_err());
        assert_eq!(attempts, 1);
    }

    #[test]
    fn the_bound_doubles_up_to_the_longest_pause() {
        let bounds = [1, 2, 3, 4, u32::MAX].map(|attempts| policy().bound(attempts).as_micros());
        assert_eq!(bounds, [1, 2, 3, 3, 3]);
    }
}
