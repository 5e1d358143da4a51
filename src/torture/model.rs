//! The history against itself: what the answers say of each other must be possible.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::history::{Act, Deed, End, History, Story, Violation};
use super::place;
use crate::workload::amount;

/// Checks the stories of these sessions.
pub(super) fn check(history: &History, sessions: &[Uuid]) -> Vec<Violation> {
    let stories = sessions.iter().filter_map(|id| Some((id, history.story(*id)?)));
    let mut violations = Vec::new();
    for (session, story) in stories.clone() {
        let complain =
            |(line, what): (u64, String)| Violation::at(line, format!("session {session}: {what}"));
        violations.extend(once(story).into_iter().map(complain));
        violations.extend(in_order(story).into_iter().map(complain));
    }
    violations.extend(crowds(stories.map(|(_, story)| story)));
    violations
}

type Complaint = (u64, String);

/// What a holder is told who has lost the session.
const FENCED: &str = "OC009";
/// What who settles a kernel is told that nobody knows.
const UNKNOWN: &str = "OC004";

/// What may be answered to one call alone, however often and by whomever it is repeated.
fn once(story: &Story) -> Vec<Complaint> {
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut complaints = Vec::new();
    for deed in &story.deeds {
        if let End::Refused { why } = &deed.end
            && !(story.reclaimed && why.starts_with(FENCED))
            && !(why.starts_with(UNKNOWN) && may_be_unknown(story, deed))
        {
            complaints.push((deed.line, format!("a call without a mistake was refused: {why}")));
        }
        let Some((said, _)) = deed.said() else { continue };
        let mut claims = Vec::new();
        match (deed.act, said.outcome.as_str()) {
            (Act::Reserve, "admitted") => claims.push("it was admitted".to_owned()),
            (Act::Release, "released") => claims.push("it was ended".to_owned()),
            (Act::ReleaseKernel(kernel), "released") => {
                claims.push(format!("kernel {kernel} was ended"));
                if said.ended {
                    claims.push("it was ended".to_owned());
                }
            }
            (Act::Terminate, "terminating") => claims.push("its termination began".to_owned()),
            _ => {}
        }
        for claim in claims {
            if let Some(first) = seen.insert(claim.clone(), deed.line) {
                complaints.push((deed.line, format!("{claim}, as line {first} was told before")));
            }
        }
    }
    complaints
}

/// Whether a kernel that is to be settled need not be there: its reservation may be one of those
/// that were lost and never happened.
fn may_be_unknown(story: &Story, settling: &Deed) -> bool {
    matches!(settling.act, Act::Settle(_))
        && !story.deeds.iter().any(|earlier| {
            let shows_it = earlier.was_admitted() || matches!(earlier.act, Act::Settle(_));
            shows_it && earlier.said().is_some_and(|(_, at)| at < settling.sent)
        })
}

/// What an answer that had arrived means for the calls that were sent afterwards.
fn in_order(story: &Story) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for later in &story.deeds {
        let Some((said, answered)) = later.said() else { continue };
        // By another call, or by an attempt of this one whose answer was lost.
        let ended_meanwhile = story.reclaimed
            || later.patient && later.act.ends()
            || story.deeds.iter().any(|other| {
                other.act.ends() && other.sent < answered && !std::ptr::eq(other, later)
            });
        let before =
            story.deeds.iter().filter(|it| it.said().is_some_and(|(_, at)| at < later.sent));
        for earlier in before {
            if let Some(wrong) = contradiction(earlier, later.act, &said.outcome, ended_meanwhile) {
                let line = earlier.line;
                complaints.push((later.line, format!("{wrong}, after the answer to line {line}")));
            }
        }
    }
    complaints
}

/// Why this outcome cannot follow an earlier answer.
fn contradiction(earlier: &Deed, act: Act, outcome: &str, ended_meanwhile: bool) -> Option<String> {
    let told = earlier.outcome().unwrap_or_default();
    let was_ended = earlier.act == Act::Release
        || earlier.said().is_some_and(|(said, _)| said.ended && earlier.act.ends());
    let wrong = match act {
        Act::Reserve if was_ended => outcome != "rejected",
        Act::Reserve if earlier.was_admitted() && ended_meanwhile => outcome == "admitted",
        Act::Reserve if earlier.was_admitted() => outcome != "already_admitted",
        Act::Release | Act::Terminate | Act::Confirm if was_ended => outcome != "already_released",
        Act::Release if earlier.was_admitted() && !ended_meanwhile => outcome != "released",
        Act::Terminate if earlier.was_admitted() && !ended_meanwhile => outcome != "terminating",
        Act::ReleaseKernel(kernel) if earlier.act == Act::ReleaseKernel(kernel) => {
            told != "unknown" && outcome != "already_released"
        }
        Act::Release | Act::Terminate | Act::ReleaseKernel(_) if earlier.was_admitted() => {
            outcome == "unknown"
        }
        Act::Confirm if earlier.act == Act::Confirm => outcome == "confirmed",
        Act::Confirm if earlier.was_admitted() && !ended_meanwhile => {
            !matches!(outcome, "confirmed" | "already_confirmed")
        }
        Act::Settle(_) if was_ended => outcome == "settled",
        Act::Settle(_) if earlier.was_admitted() && !ended_meanwhile => outcome != "settled",
        _ => false,
    };
    wrong.then(|| format!("{act:?} was answered with {outcome}"))
}

/// A time in which a session certainly had what it was admitted with: from the arrival of the
/// answer until somebody was about to take any of it away.
fn certainly_held(story: &Story) -> Option<(&Deed, u64, u64)> {
    let admitted = story.deeds.iter().filter(|deed| deed.was_admitted());
    let (admitted, from) = admitted
        .filter_map(|deed| Some((deed, deed.said()?.1)))
        .min_by_key(|(_, answered)| *answered)?;
    let until = story
        .deeds
        .iter()
        .filter(|deed| deed.act.ends() || matches!(deed.act, Act::Settle(_)))
        .map(|deed| deed.sent)
        .min()
        .unwrap_or(u64::MAX);
    (from < until).then_some((admitted, from, until))
}

/// No counter ever had to hold more than its limit.
pub(super) fn crowds<'a>(stories: impl Iterator<Item = &'a Story>) -> Vec<Violation> {
    /// Ends come before beginnings of the same moment.
    type Steps = Vec<(u64, bool, i128, u64)>;
    let mut counters: BTreeMap<String, (i128, Steps)> = BTreeMap::new();
    for story in stories {
        // When exactly one was taken from its holder is not known here.
        let Some(wanted) = story.wanted.as_ref().filter(|_| !story.reclaimed) else { continue };
        let Some((deed, from, until)) = certainly_held(story) else { continue };
        for (counter, (amount, limit)) in place::charges(wanted) {
            let (_, steps) = counters.entry(counter).or_insert((limit, Vec::new()));
            steps.push((from, true, amount, deed.line));
            steps.push((until, false, -amount, deed.line));
        }
    }
    let mut violations = Vec::new();
    for (counter, (limit, mut steps)) in counters {
        steps.sort_unstable();
        let mut held = 0;
        for (_, _, amount, line) in steps {
            held += amount;
            if amount > 0 && held > limit {
                let [held, limit] = [held, limit].map(amount::format);
                let what = format!("{held} of at most {limit} {counter} were held at once");
                violations.push(Violation::at(line, what));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::torture::call::{Call, Event, Said};

    struct Told {
        history: History,
        time: u64,
        calls: u64,
        _file: tempfile::NamedTempFile,
    }

    impl Told {
        fn new() -> Self {
            let file = tempfile::NamedTempFile::new().expect("a file");
            let history = History::create(file.path()).expect("created");
            Self { history, time: 0, calls: 0, _file: file }
        }

        /// A call that is answered before anything else happens.
        fn tell(&mut self, what: Call, outcome: &str) {
            let said = Said { outcome: outcome.to_owned(), code: None, ended: false };
            self.happen(what, |call, at| Event::Answer { call, at, clock: 0, said: vec![said] });
        }

        /// A call that fails: refused, or without an answer.
        fn fail(&mut self, what: Call, refused: bool, why: &str) {
            let why = why.to_owned();
            self.happen(what, |call, at| Event::Failed { call, at, refused, why });
        }

        fn happen(&mut self, what: Call, end: impl FnOnce(u64, u64) -> Event) {
            let author: Arc<str> = Arc::from("1.1");
            self.calls += 1;
            self.time += 2;
            let (call, at) = (self.calls, self.time);
            self.history.take(&author, &Event::Call { call, at: at - 1, patient: false, what });
            self.history.take(&author, &end(call, at));
        }

        fn complaints(&mut self) -> Vec<String> {
            let news = self.history.take_news();
            check(&self.history, &news).into_iter().map(|violation| violation.what).collect()
        }
    }

    fn wishes() -> impl Iterator<Item = crate::model::Reservation> {
        let mut rng = StdRng::seed_from_u64(1);
        std::iter::repeat_with(move || place::wish(&mut rng))
    }

    #[test]
    fn a_life_without_faults_is_no_violation() {
        let mut told = Told::new();
        let wish = wishes().next().expect("endless");
        let id = wish.session_id;
        told.tell(Call::Reserve(Box::new(wish.clone())), "admitted");
        told.tell(Call::Reserve(Box::new(wish.clone())), "already_admitted");
        told.tell(Call::Release(id), "released");
        told.tell(Call::Release(id), "already_released");
        told.tell(Call::Reserve(Box::new(wish)), "rejected");
        assert_eq!(told.complaints(), Vec::<String>::new());
    }

    #[test]
    fn answers_that_contradict_each_other_are_found() {
        let wish = wishes().next().expect("endless");
        let id = wish.session_id;
        let reserve = || Call::Reserve(Box::new(wish.clone()));
        let impossible: [&[(Call, &str)]; 6] = [
            &[(reserve(), "admitted"), (reserve(), "admitted")],
            &[(reserve(), "admitted"), (reserve(), "rejected")],
            &[(reserve(), "admitted"), (Call::Release(id), "unknown")],
            &[(reserve(), "admitted"), (Call::Release(id), "already_released")],
            &[(Call::Release(id), "released"), (Call::Release(id), "released")],
            &[(Call::Release(id), "unknown"), (reserve(), "admitted")],
        ];
        for calls in impossible {
            let mut told = Told::new();
            for (call, outcome) in calls {
                told.tell(call.clone(), outcome);
            }
            assert!(!told.complaints().is_empty(), "{calls:?}");
        }
    }

    #[test]
    fn a_kernel_may_be_unknown_only_while_nobody_was_told_of_it() {
        let wish = wishes().next().expect("endless");
        let reserve = Call::Reserve(Box::new(wish.clone()));
        let kernel = wish.kernels[0].kernel_id.expect("a client's id");
        let settle = Call::Settle { kernel, session: wish.session_id, slots: place::settled() };
        let mut told = Told::new();
        told.fail(reserve.clone(), false, "53100 the disk is full");
        told.fail(settle.clone(), true, "OC004 unknown kernel");
        assert_eq!(told.complaints(), Vec::<String>::new());
        told.tell(reserve, "admitted");
        told.fail(settle, true, "OC004 unknown kernel");
        assert_eq!(told.complaints().len(), 1);
    }

    #[test]
    fn more_at_once_than_the_limit_is_found() {
        let mut told = Told::new();
        let of_one_key =
            wishes().filter(|it| it.access_key == "AK-0" && it.session_type.as_str() != "system");
        let mut few = of_one_key.take(4);
        let first = few.next().expect("endless");
        told.tell(Call::Reserve(Box::new(first.clone())), "admitted");
        told.tell(Call::Release(first.session_id), "released");
        for wish in few {
            told.tell(Call::Reserve(Box::new(wish)), "admitted");
        }
        let three = told.complaints();
        assert!(three.iter().all(|it| !it.contains("sessions of AK-0")), "{three:?}");

        let mut told = Told::new();
        let of_one_key =
            wishes().filter(|it| it.access_key == "AK-0" && it.session_type.as_str() != "system");
        for wish in of_one_key.take(4) {
            told.tell(Call::Reserve(Box::new(wish)), "admitted");
        }
        let four = told.complaints();
        assert!(four.iter().any(|it| it.contains("4 of at most 3 sessions of AK-0")), "{four:?}");
    }
}
