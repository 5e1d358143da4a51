//! The primary's disk is full: rows find no room, or the log, which ends the server.

use std::time::Duration;

use rand::RngExt;

use super::{Fault, Ground, Strike};
use crate::torture::silence::Whose;

pub(super) struct DiskFull;

const FOR: Duration = Duration::from_millis(1500);
const COMPLAINT: &str = "No space left on device";

impl Fault for DiskFull {
    fn name(&self) -> &'static str {
        "disk-full"
    }

    fn worth(&self) -> u32 {
        5
    }

    fn obstacle(&self, ground: &Ground) -> Option<String> {
        ground.cluster.primary.disk.refused().map(str::to_owned)
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            let complaints =
                |ground: &Ground| ground.cluster.primary.node.log().matches(COMPLAINT).count();
            let before = complaints(ground);
            let client = ground.connect().await?;
            ground.mark(self.name());
            ground.silence.begin(Whose::Everybodys);
            ground.cluster.primary.disk.fill()?;
            if ground.rng.random_bool(0.5) {
                // The log wants a new file at once. Nobody answers if the server ends over it.
                let _ = client.batch_execute("select pg_switch_wal()").await;
            }
            ground.listen_for(FOR).await;
            ground.cluster.primary.disk.empty()?;
            ground.cluster.revive().await?;
            Ok(complaints(ground) > before)
        })
    }
}
