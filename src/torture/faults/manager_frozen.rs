//! A manager that stops for longer than anybody waits for it, and then goes on as if nothing were.

use nix::sys::signal::Signal;
use rand::RngExt;

use super::{Fault, Ground, Strike};
use crate::torture::FREEZE;
use crate::torture::silence::Whose;

pub(super) struct ManagerFrozen;

impl Fault for ManagerFrozen {
    fn name(&self) -> &'static str {
        "manager-frozen"
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            let victim = ground.rng.random_range(0..ground.managers.len());
            ground.mark(self.name());
            let holder = ground.managers[victim].holder();
            ground.silence.begin(Whose::Of(holder));
            // The system ends it with us, frozen or not.
            ground.managers[victim].signal(Signal::SIGSTOP);
            ground.listen_for(FREEZE).await;
            ground.managers[victim].signal(Signal::SIGCONT);
            Ok(true)
        })
    }
}
