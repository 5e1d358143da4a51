//! The server stops at once, as in a crash, and starts again.

use super::{Fault, Ground, Strike};

pub(super) struct ServerCrashed;

impl Fault for ServerCrashed {
    fn name(&self) -> &'static str {
        "server-crashed"
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            ground.mark(self.name());
            ground.cluster.restart().await?;
            Ok(true)
        })
    }
}
