//! Sessions that wait, and the ticks that place them.

use uuid::Uuid;

use super::{expect, statements};
use crate::bench::link::Link;
use crate::bench::order::GROUP;
use crate::error::{Error, ErrorKind, Result};
use crate::scheduling::{Policy, Selector, Tick, statements as sql};
use crate::statements::release_sessions;

statements! {
    ENQUEUE(INT4, INT4, INT4, INT8) = "select from fill.queue($1, $2, $3, $4)";
}

/// Sessions that wait, before a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) sessions: u32,
    pub(crate) keys: u32,
    /// Distinct requests among them.
    pub(crate) shapes: u32,
    /// Whether there is room for them; otherwise for none.
    pub(crate) fits: bool,
}

/// How many times more than an agent has.
const TOO_MUCH: i64 = 10_000_000_000;

pub(crate) async fn enqueue(link: &mut Link, waiting: Waiting) -> Result<()> {
    let [sessions, keys, shapes] =
        [waiting.sessions, waiting.keys, waiting.shapes].map(u32::cast_signed);
    let times: i64 = if waiting.fits { 1 } else { TOO_MUCH };
    link.row(&ENQUEUE, &[&sessions, &keys, &shapes, &times]).await?;
    Ok(())
}

/// One tick, of which every answer has to be as expected. Returns the sessions that it looked at;
/// `None`, where another manager was at it.
pub(crate) async fn tick(
    link: &mut Link,
    max_sessions: u32,
    fits: bool,
) -> Result<Option<Vec<Uuid>>> {
    let Tick { tries, .. } = Tick::default();
    let (policy, selector) = (Policy::default(), Selector::default());
    let rows = link
        .rows(
            &sql::schedule_sessions,
            &[
                &GROUP,
                &max_sessions.cast_signed(),
                &policy.as_str(),
                &selector.as_str(),
                &tries,
                &false,
            ],
        )
        .await?;
    let looked_at: Option<Vec<Uuid>> =
        rows.iter().map(|row| row.try_get("session_id")).collect::<Result<_, _>>()?;
    if looked_at.is_none() {
        return Ok(None);
    }
    let expected = if fits { "placed" } else { "waiting" };
    rows.iter().try_for_each(|row| expect(row, expected))?;
    Ok(looked_at)
}

/// Ends what was placed.
pub(crate) async fn release(link: &mut Link, sessions: &[Uuid]) -> Result<()> {
    let nobody: (Option<&str>, Option<i64>) = (None, None);
    let rows = link.rows(&release_sessions, &[&sessions, &nobody.0, &nobody.1]).await?;
    rows.iter().try_for_each(|row| expect(row, "released"))?;
    if rows.len() == sessions.len() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Database, "a release was not answered element by element"))
}
