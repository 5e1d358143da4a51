//! The history against the database: what was answered is there, what was not is whole.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::history::{Act, Deed, End, History, Story, Violation};
use super::silence::Silence;
use crate::error::Result;
use crate::model::KernelRequest;
use crate::slots::ResourceSlots;

/// Sessions that are looked up in one query.
const BATCH: usize = 1000;

const STORED: &str = "
    select s.session_id, s.access_key, s.terminating_at is not null as terminating,
           s.ended_at is not null as ended, s.reclaimed_at, s.confirmed_at is not null as confirmed,
           (select m.manager::text from occupancy.manager m where m.epoch = s.holder_epoch) as holder,
           exists (select from occupancy.session_concurrency c
                   where c.session_id = s.session_id) as has_slot,
           coalesce((select json_agg(json_build_object(
                       'id', k.kernel_id, 'agent', k.agent_id, 'slots', k.requested_slots,
                       'settled', k.settled_slots is not null, 'ended', k.ended_at is not null)
                       order by k.position)
                     from occupancy.kernel k where k.session_id = s.session_id), '[]') as kernels
    from occupancy.session s
    where s.session_id = any ($1)";

#[derive(Debug, serde::Deserialize)]
struct Kernel {
    id: Uuid,
    agent: String,
    slots: ResourceSlots,
    settled: bool,
    ended: bool,
}

/// A session as it is stored.
#[expect(clippy::struct_excessive_bools, reason = "a row's columns, each on its own")]
struct Stored {
    access_key: Option<String>,
    terminating: bool,
    ended: bool,
    has_slot: bool,
    confirmed: bool,
    /// When it was taken from its holder, and who that was.
    reclaimed_at: Option<Timestamp>,
    holder: Option<String>,
    kernels: Vec<Kernel>,
}

/// Compares these sessions. `suspects` are those that have ended without anybody having asked, as
/// far as the history went then: they are complained about if it still knows nothing.
pub(super) async fn check(
    client: &Client,
    history: &mut History,
    silence: &Silence,
    sessions: &[Uuid],
    suspects: &mut Vec<Uuid>,
) -> Result<Vec<Violation>> {
    // What was answered by now must be there in a moment.
    let stories: BTreeMap<Uuid, Story> = sessions
        .iter()
        .chain(suspects.iter())
        .filter_map(|id| Some((*id, history.story(*id)?.clone())))
        .collect();
    let suspected = std::mem::take(suspects);
    let mut violations = Vec::new();
    let ids: Vec<_> = stories.keys().copied().collect();
    for batch in ids.chunks(BATCH) {
        let stored = look_up(client, batch).await?;
        for id in batch {
            let (story, stored) = (&stories[id], stored.get(id));
            let line = story.deeds.first().map_or(0, |deed| deed.line);
            let mut complain = |line: u64, what: &str| {
                violations.push(Violation::at(line, format!("session {id}: {what}")));
            };
            answered(story, stored, &mut complain);
            whole(story, stored, &mut complain);
            if let Some((stored, moment)) = stored.and_then(|it| Some((it, it.reclaimed_at?))) {
                history.note_reclaimed(*id);
                taken(stored, moment, silence, &mut |what| complain(line, what));
            } else if stored.is_some_and(|it| it.ended)
                && !story.deeds.iter().any(|it| it.act.ends())
            {
                if suspected.contains(id) {
                    complain(line, "it has ended, and nobody asked for it");
                } else {
                    suspects.push(*id);
                }
            }
        }
    }
    Ok(violations)
}

async fn look_up(client: &Client, sessions: &[Uuid]) -> Result<HashMap<Uuid, Stored>> {
    let rows = client.query(STORED, &[&sessions]).await?;
    rows.iter()
        .map(|row| {
            let Json(kernels): Json<Vec<Kernel>> = row.try_get("kernels")?;
            let stored = Stored {
                access_key: row.try_get("access_key")?,
                terminating: row.try_get("terminating")?,
                ended: row.try_get("ended")?,
                has_slot: row.try_get("has_slot")?,
                confirmed: row.try_get("confirmed")?,
                reclaimed_at: row.try_get("reclaimed_at")?,
                holder: row.try_get("holder")?,
                kernels,
            };
            Ok((row.try_get("session_id")?, stored))
        })
        .collect()
}

/// Every answer that arrived is in the database.
fn answered(story: &Story, stored: Option<&Stored>, complain: &mut impl FnMut(u64, &str)) {
    let limits_alone = |deed: &Deed| {
        let by_limit = |code: Option<&str>| code.is_some_and(|code| code != "session_ended");
        deed.said()
            .is_some_and(|(said, _)| said.outcome == "rejected" && by_limit(said.code.as_deref()))
    };
    for deed in &story.deeds {
        let Some(outcome) = deed.outcome() else { continue };
        let Some(stored) = stored else {
            if deed.act != Act::Reserve && outcome != "unknown"
                || deed.act == Act::Release
                || deed.was_admitted()
            {
                complain(deed.line, &format!("{:?}: {outcome}, but there is no row", deed.act));
            }
            continue;
        };
        let kernel = |id: Uuid| stored.kernels.iter().find(|it| it.id == id);
        let there = match (deed.act, outcome) {
            (Act::Reserve, "admitted" | "already_admitted") => stored.access_key.is_some(),
            (Act::Confirm, "confirmed" | "already_confirmed") => stored.confirmed,
            (Act::Release, _) | (Act::Terminate, "already_released") => stored.ended,
            (Act::Terminate, "terminating" | "already_terminating") => stored.terminating,
            (Act::ReleaseKernel(id), "released" | "already_released") => {
                kernel(id).is_some_and(|kernel| kernel.ended)
            }
            (Act::Settle(id), "settled") => kernel(id).is_some_and(|kernel| kernel.settled),
            _ => true,
        };
        if !there {
            complain(
                deed.line,
                &format!("{:?} was answered with {outcome}, but is not there", deed.act),
            );
        }
    }
    let reserves = || story.deeds.iter().filter(|deed| deed.act == Act::Reserve);
    if let Some(line) = reserves().next().map(|deed| deed.line)
        && stored.is_some_and(|it| it.access_key.is_some())
        && reserves().all(limits_alone)
    {
        complain(line, "it was rejected, but is there");
    }
}

/// What the living hold is not taken from them, nor what runs from anybody.
fn taken(stored: &Stored, moment: Timestamp, silence: &Silence, complain: &mut impl FnMut(&str)) {
    if stored.confirmed {
        complain("it was reclaimed after it had been confirmed");
    }
    let holder = stored.holder.as_deref().unwrap_or("nobody");
    if !silence.explains(holder, moment) {
        complain(&format!("it was taken from {holder}, who had not been silent"));
    }
}

/// A session has all that was asked for, or nothing.
fn whole(story: &Story, stored: Option<&Stored>, complain: &mut impl FnMut(u64, &str)) {
    let (Some(stored), Some(wanted)) = (stored, &story.wanted) else { return };
    let line = story.deeds.first().map_or(0, |deed| deed.line);
    let Some(key) = &stored.access_key else {
        if !stored.kernels.is_empty() || stored.has_slot {
            complain(line, "it was never admitted, but holds something");
        }
        return;
    };
    let same = |(kernel, asked): (&Kernel, &KernelRequest)| {
        Some(kernel.id) == asked.kernel_id
            && kernel.agent == asked.agent
            && kernel.slots == asked.slots
    };
    if *key != wanted.access_key
        || stored.kernels.len() != wanted.kernels.len()
        || !stored.kernels.iter().zip(&wanted.kernels).all(same)
    {
        complain(line, "what is stored is not what was asked for");
    }
    if stored.has_slot == (stored.ended || stored.terminating) {
        complain(line, "its slot and its state contradict each other");
    }
    if stored.ended != stored.kernels.iter().all(|kernel| kernel.ended) {
        complain(line, "its kernels and its state contradict each other");
    }
}

/// The sessions that an author, or everybody, leaves behind: perhaps admitted, and not known to
/// have ended.
pub(super) fn left_behind(history: &History, author: Option<&str>) -> Vec<Uuid> {
    let alive = history.stories().filter(|(_, story)| {
        let maybe = |deed: &Deed| {
            deed.act == Act::Reserve
                && author.is_none_or(|author| *deed.author == *author)
                && (deed.was_admitted() || matches!(deed.end, End::Open | End::Lost))
        };
        let ended = |deed: &Deed| {
            deed.said().is_some_and(|(said, _)| deed.act == Act::Release || said.ended)
        };
        story.deeds.iter().any(maybe) && !story.deeds.iter().any(ended)
    });
    alive.map(|(id, _)| *id).collect()
}
