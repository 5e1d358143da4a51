//! The primary is lost, and its synchronous standby takes its place.

use std::time::Duration;

use super::{Fault, Ground, Strike};
use crate::torture::call::now;
use crate::torture::silence::Whose;

pub(super) struct Failover {
    /// For a while before, the primary is alive but cut off from its standby, and somebody ends the
    /// backends that wait for it: what these have committed is visible on the primary, and lost.
    pub(super) split: bool,
}

const FOR: Duration = Duration::from_secs(1);

impl Fault for Failover {
    fn name(&self) -> &'static str {
        if self.split { "split-failover" } else { "failover" }
    }

    fn worth(&self) -> u32 {
        5
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            ground.mark(self.name());
            ground.silence.begin(Whose::Everybodys);
            ground.cluster.fail_over(self.split.then_some(FOR)).await?;
            ground.recovered(now()).await?;
            ground.cluster.add_standby().await?;
            Ok(true)
        })
    }
}
