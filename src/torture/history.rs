//! Every call and every answer of a run, by session.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::call::{Call, Event, Said};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Reservation;

/// What a call meant to do to one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Reserve,
    Confirm,
    Release,
    ReleaseKernel(Uuid),
    Terminate,
    Settle(Uuid),
}

impl Act {
    /// Whether it takes anything away from the session.
    pub(super) fn ends(self) -> bool {
        matches!(self, Self::Release | Self::ReleaseKernel(_) | Self::Terminate)
    }
}

/// How a call came out, as far as its caller knows.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It is under way.
    Open,
    Answered {
        at: u64,
        said: Said,
    },
    /// The server refused it: nothing happened.
    Refused {
        why: String,
    },
    /// No answer came: it happened wholly or not at all.
    Lost,
}

/// One call's part in one session.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    /// The line of the history that tells of the call.
    pub(super) line: u64,
    pub(super) author: Arc<str>,
    pub(super) act: Act,
    /// The client may have sent it several times.
    pub(super) patient: bool,
    pub(super) sent: u64,
    pub(super) end: End,
}

impl Deed {
    pub(super) fn said(&self) -> Option<(&Said, u64)> {
        match &self.end {
            End::Answered { at, said } => Some((said, *at)),
            _ => None,
        }
    }

    pub(super) fn outcome(&self) -> Option<&str> {
        self.said().map(|(said, _)| said.outcome.as_str())
    }

    pub(super) fn was_admitted(&self) -> bool {
        self.act == Act::Reserve && matches!(self.outcome(), Some("admitted" | "already_admitted"))
    }
}

/// All that was done to a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// `None` only if somebody ends what nobody reserved.
    pub(super) wanted: Option<Arc<Reservation>>,
    pub(super) deeds: Vec<Deed>,
    /// It was taken from a holder who was silent.
    pub(super) reclaimed: bool,
}

/// Something that must not be, with the history's place.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Violation {
    pub(crate) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) history_line: Option<u64>,
}

impl Violation {
    pub(super) fn at(line: u64, what: impl Into<String>) -> Self {
        Self { what: what.into(), history_line: Some(line) }
    }

    pub(super) fn somewhere(what: impl Into<String>) -> Self {
        Self { what: what.into(), history_line: None }
    }
}

/// A call that is under way.
struct Open {
    what: Call,
    /// The sessions and the number of the deed in each story.
    parts: Vec<(Uuid, usize)>,
}

pub(super) struct History {
    file: BufWriter<File>,
    lines: u64,
    open: HashMap<(Arc<str>, u64), Open>,
    stories: HashMap<Uuid, Story>,
    /// Stories with something new since they were last checked.
    news: BTreeSet<Uuid>,
    pub(super) calls: u64,
    pub(super) answers: u64,
    pub(super) lost: u64,
    /// When each author's latest answered call was sent, and the time that he then thought it was.
    latest: HashMap<Arc<str>, (u64, i64)>,
}

impl History {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| {
            Error::new(ErrorKind::Io, format!("cannot write {}", path.display())).caused_by(e)
        })?;
        Ok(Self {
            file: BufWriter::new(file),
            lines: 0,
            open: HashMap::new(),
            stories: HashMap::new(),
            news: BTreeSet::new(),
            calls: 0,
            answers: 0,
            lost: 0,
            latest: HashMap::new(),
        })
    }

    /// Calls that are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.open.len()
    }

    pub(super) fn story(&self, session: Uuid) -> Option<&Story> {
        self.stories.get(&session)
    }

    pub(super) fn stories(&self) -> impl Iterator<Item = (&Uuid, &Story)> {
        self.stories.iter()
    }

    /// The database says that this session was taken from its holder.
    pub(super) fn note_reclaimed(&mut self, session: Uuid) {
        if let Some(story) = self.stories.get_mut(&session) {
            story.reclaimed = true;
        }
    }

    /// The sessions with something new, which are old from now on.
    pub(super) fn take_news(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.news).into_iter().collect()
    }

    /// When this author's latest answered call was sent, and his clock then.
    pub(super) fn latest(&self, author: &str) -> Option<(u64, i64)> {
        self.latest.get(author).copied()
    }

    /// Writes a line into the file.
    pub(super) fn note(&mut self, author: &str, line: &impl serde::Serialize) {
        self.lines += 1;
        let text = serde_json::json!({ "by": author, "event": line });
        // A disk that is full costs the copy, not the run.
        let _ = writeln!(self.file, "{text}");
    }

    pub(super) fn flush(&mut self) {
        let _ = self.file.flush();
    }

    pub(super) fn take(&mut self, author: &Arc<str>, event: &Event) {
        self.note(author, event);
        match event {
            Event::Call { call, at, patient, what } => {
                self.begin(author, *call, *at, *patient, what);
            }
            Event::Answer { call, at, clock, said } => {
                self.answers += 1;
                let ends = said.iter().map(|said| End::Answered { at: *at, said: said.clone() });
                if let Some(sent) = self.end(author, *call, ends.collect()) {
                    self.latest.insert(Arc::clone(author), (sent, *clock));
                }
            }
            Event::Failed { call, refused: true, why, .. } => {
                self.end(author, *call, vec![End::Refused { why: why.clone() }]);
            }
            Event::Failed { call, refused: false, .. } => {
                self.lost += 1;
                self.end(author, *call, vec![End::Lost]);
            }
        }
    }

    fn begin(&mut self, author: &Arc<str>, call: u64, sent: u64, patient: bool, what: &Call) {
        self.calls += 1;
        let reserved = |reservation: &Reservation| {
            (reservation.session_id, Act::Reserve, Some(Arc::new(reservation.clone())))
        };
        let acts = match what {
            Call::Reserve(reservation) => vec![reserved(reservation)],
            Call::ReserveBatch(reservations) => reservations.iter().map(reserved).collect(),
            Call::Confirm(session) => vec![(*session, Act::Confirm, None)],
            Call::Release(session) => vec![(*session, Act::Release, None)],
            Call::ReleaseBatch(sessions) => {
                sessions.iter().map(|session| (*session, Act::Release, None)).collect()
            }
            Call::ReleaseKernel { kernel, session } => {
                vec![(*session, Act::ReleaseKernel(*kernel), None)]
            }
            Call::Terminate(session) => vec![(*session, Act::Terminate, None)],
            Call::Settle { kernel, session, .. } => vec![(*session, Act::Settle(*kernel), None)],
        };
        let line = self.lines;
        let parts = acts.into_iter().map(|(session, act, wanted)| {
            let story = self.stories.entry(session).or_default();
            story.wanted = story.wanted.take().or(wanted);
            let author = Arc::clone(author);
            story.deeds.push(Deed { line, author, act, patient, sent, end: End::Open });
            self.news.insert(session);
            (session, story.deeds.len() - 1)
        });
        let open = Open { what: what.clone(), parts: parts.collect() };
        self.open.insert((Arc::clone(author), call), open);
    }

    /// Ends a call: one end for each element, or one for all. Returns when it was sent.
    fn end(&mut self, author: &Arc<str>, call: u64, ends: Vec<End>) -> Option<u64> {
        let open = self.open.remove(&(Arc::clone(author), call))?;
        let mut sent = None;
        let count = open.parts.len();
        for ((session, deed), end) in
            open.parts.into_iter().zip(ends.into_iter().cycle().take(count))
        {
            self.news.insert(session);
            if let Some(deed) = self.stories.get_mut(&session).and_then(|it| it.deeds.get_mut(deed))
            {
                sent = Some(deed.sent);
                deed.end = end;
            }
        }
        sent
    }

    /// The author is dead: his open calls are lost. Returns them.
    pub(super) fn bury(&mut self, author: &Arc<str>) -> Vec<Call> {
        let keys: Vec<_> = self.open.keys().filter(|(by, _)| by == author).cloned().collect();
        let calls = keys.into_iter().filter_map(|key| {
            let what = self.open.get(&key)?.what.clone();
            self.lost += 1;
            self.end(&key.0, key.1, vec![End::Lost]);
            Some(what)
        });
        calls.collect()
    }
}
