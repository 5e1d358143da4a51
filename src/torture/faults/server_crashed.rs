//! The server stops at once, as in a crash, and starts again.

use super::{Fault, Ground, Strike};
use crate::torture::silence::Whose;

pub(super) struct ServerCrashed;

impl Fault for ServerCrashed {
    fn name(&self) -> &'static str {
        "server-crashed"
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            ground.mark(self.name());
            ground.silence.begin(Whose::Everybodys);
            ground.cluster.restart().await?;
            Ok(true)
        })
    }
}
