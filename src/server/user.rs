//! Who the server runs as. PostgreSQL refuses to run as root, so root hands it to somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

use super::io_failure;
use crate::error::Result;

/// Accounts that may run a server for root, best first.
const UNPRIVILEGED: [&str; 3] = ["postgres", "_postgres", "nobody"];

/// The account that the server's processes run as and that owns its files.
#[derive(Clone, Debug)]
pub(super) enum ServerUser {
    /// The user of this process.
    Same,
    /// This process is root and gives its privileges up.
    Other(User),
}

impl ServerUser {
    /// Those who may run the server on `data`, best first: whoever owns the data if there is any.
    ///
    /// Whether they really can run the binaries must be tried.
    pub(super) fn candidates(data: Option<&Path>) -> Vec<Self> {
        if !geteuid().is_root() {
            return vec![Self::Same];
        }
        let owner = data.and_then(|path| fs::metadata(path).ok()).map(|metadata| metadata.uid());
        let users = match owner {
            Some(uid) => User::from_uid(Uid::from_raw(uid)).ok().flatten().into_iter().collect(),
            None => UNPRIVILEGED
                .iter()
                .filter_map(|name| User::from_name(name).ok().flatten())
                .collect::<Vec<_>>(),
        };
        users.into_iter().filter(|user| !user.uid.is_root()).map(Self::Other).collect()
    }

    /// Makes a command run as this user.
    pub(super) fn run<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        match self {
            Self::Same => command,
            Self::Other(user) => command.uid(user.uid.as_raw()).gid(user.gid.as_raw()),
        }
    }

    /// Makes a file or directory this user's own.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        let Self::Other(user) = self else { return Ok(()) };
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(|e| {
            io_failure(format_args!("cannot give {} to {}", path.display(), user.name), e)
        })
    }
}

impl std::fmt::Display for ServerUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Same => f.write_str("this user"),
            Self::Other(user) => write!(f, "user {}", user.name),
        }
    }
}
