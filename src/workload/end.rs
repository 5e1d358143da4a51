//! The end of a workload: nothing may be left.

use uuid::Uuid;

use crate::error::Result;
use crate::workload::Crew;
use crate::workload::progress::Progress;

/// Sessions that are released in one transaction.
const BATCH: usize = 200;

/// Releases what still runs, and proves that nothing is occupied or counted any more.
pub(super) async fn release_all(
    crew: &mut Crew,
    sessions: &[Uuid],
    progress: &Progress,
) -> Result<()> {
    progress.say(&format!("releasing the {} sessions that still run", sessions.len()));
    for batch in sessions.chunks(BATCH) {
        crew.managers[0].handles().tracker().release_sessions(batch).await?;
    }
    for agent in crew.watch.occupied_agents().await? {
        let left = format!("agent {} still has {} occupied", agent.agent_id, agent.occupied_slots);
        crew.watch.broken.push(left);
    }
    crew.watch.audit().await
}
