//! The end of a workload: nothing may be left.

use uuid::Uuid;

use crate::error::Result;
use crate::workload::Crew;
use crate::workload::summary::End;

/// Sessions that are released in one transaction.
const BATCH: usize = 200;

/// Releases what still runs, and proves that nothing is occupied or counted any more.
pub(super) async fn release_all(crew: &mut Crew, sessions: &[Uuid]) -> Result<End> {
    let handles = crew.managers[0].handles();
    for batch in sessions.chunks(BATCH) {
        handles.tracker().release_sessions(batch).await?;
    }
    let agents = handles.agents().agent_occupancy().await?;
    let left: Vec<_> = agents.iter().filter(|agent| !agent.occupied_slots.is_empty()).collect();
    crew.watch.broken.extend(left.iter().map(|agent| {
        format!("agent {} still has {} occupied", agent.agent_id, agent.occupied_slots)
    }));
    crew.watch.audit().await?;
    Ok(End {
        released: sessions.len(),
        agents: agents.len(),
        empty_agents: agents.len() - left.len(),
    })
}
