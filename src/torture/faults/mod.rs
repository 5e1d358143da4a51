//! What can happen to a system. Each fault is a file.

mod backend_frozen;
mod backend_killed;
mod clock_wrong;
mod connections_exhausted;
mod disk_full;
mod failover;
mod line_cut;
mod lock_held;
mod manager_frozen;
mod manager_killed;
mod server_crashed;

use std::pin::Pin;

use super::ground::Ground;
use crate::error::Result;

/// A fault under way: whether it really struck.
pub(super) type Strike<'a> = Pin<Box<dyn Future<Output = Result<bool>> + 'a>>;

pub(super) trait Fault {
    fn name(&self) -> &'static str;

    /// How many strikes of it are worth twenty of another.
    fn worth(&self) -> u32 {
        20
    }

    /// Why it cannot strike here.
    fn obstacle(&self, _ground: &Ground) -> Option<String> {
        None
    }

    /// Does what it does, and mends what nobody else would. [`Ground::mark`] is called at the
    /// moment of truth. `false` if there was nothing to strike.
    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a>;
}

pub(super) const ALL: [&dyn Fault; 13] = [
    &manager_killed::ManagerKilled,
    &manager_frozen::ManagerFrozen,
    &backend_killed::BackendKilled,
    &backend_frozen::BackendFrozen,
    &line_cut::LineCut { loses: line_cut::Loses::Request },
    &line_cut::LineCut { loses: line_cut::Loses::Answer },
    &server_crashed::ServerCrashed,
    &lock_held::LockHeld,
    &connections_exhausted::ConnectionsExhausted,
    &clock_wrong::ClockWrong,
    &disk_full::DiskFull,
    &failover::Failover { split: false },
    &failover::Failover { split: true },
];

/// The fault with this name.
pub(crate) fn named(name: &str) -> Option<&'static str> {
    ALL.iter().map(|fault| fault.name()).find(|known| *known == name)
}

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|fault| fault.name())
}
