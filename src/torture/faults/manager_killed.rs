//! `kill -9` of a manager in the middle of its calls.

use rand::RngExt;

use super::{Fault, Ground, Strike};
use crate::torture::silence::Whose;

pub(super) struct ManagerKilled;

impl Fault for ManagerKilled {
    fn name(&self) -> &'static str {
        "manager-killed"
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            let victim = ground.rng.random_range(0..ground.managers.len());
            ground.mark(self.name());
            let holder = ground.managers[victim].holder();
            ground.silence.begin(Whose::Of(holder));
            ground.kill(victim).await?;
            Ok(true)
        })
    }
}
