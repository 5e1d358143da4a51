//! When managers could not be heard. Only then may what they held be taken from them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{GRACE, TTL};

/// Whose silence is a fault's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Everybodys,
    Of(String),
}

#[derive(Debug)]
struct Period {
    whose: Whose,
    from: Timestamp,
    /// `None` while it lasts.
    to: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Silence(Vec<Period>);

impl Silence {
    pub(super) fn begin(&mut self, whose: Whose) {
        self.0.push(Period { whose, from: Timestamp::now(), to: None });
    }

    /// All can be heard again.
    pub(super) fn end(&mut self) {
        for period in self.0.iter_mut().filter(|period| period.to.is_none()) {
            period.to = Some(Timestamp::now());
        }
    }

    /// Whether a manager may have lost something at this moment.
    pub(super) fn explains(&self, manager: &str, moment: Timestamp) -> bool {
        self.0.iter().any(|period| {
            let concerns = match &period.whose {
                Whose::Everybodys => true,
                Whose::Of(name) => name == manager,
            };
            // Whoever was silent until now is free to be reclaimed for a while longer.
            let until = period.to.map(|to| to + span(TTL + GRACE));
            concerns && period.from <= moment && until.is_none_or(|until| moment <= until)
        })
    }
}

fn span(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_silent_may_have_lost_something() {
        let mut silence = Silence::default();
        let before = Timestamp::now() - span(TTL);
        silence.begin(Whose::Of("one".to_owned()));
        silence.end();
        assert!(silence.explains("one", Timestamp::now()));
        assert!(!silence.explains("two", Timestamp::now()));
        assert!(!silence.explains("one", before));
        assert!(!silence.explains("one", Timestamp::now() + span(2 * (TTL + GRACE))));
        silence.begin(Whose::Everybodys);
        assert!(silence.explains("two", Timestamp::now()));
    }
}
