//! A PostgreSQL server of our own, for whoever has not configured one.
//!
//! [`Ephemeral`] lives as long as its owner and leaves nothing behind: demos and tests use it.
//! The server of a [`DataDir`] keeps its data there and is shared by those who use it.
//!
//! Both are run by a *guardian*, a child process of the owner (this program again, started with
//! [`guardian::SUBCOMMAND`]). It starts the server, tells where it listens, and waits for the end
//! of its standard input, which comes whenever the owner is gone, even after a `SIGKILL`. Only
//! then does it stop the server and remove what the server leaves.
//!
//! The server comes from the local PostgreSQL binaries or else from Docker, see [`Ephemeral`].
//!
//! | module | concern |
//! |---|---|
//! | `owner` | the owner's end of the guardian: start it, hear it, let it go |
//! | `guardian` | the guardian process and what the two say to each other |
//! | `embedded` | servers with a data directory, for the owner |
//! | `home` | that directory: layout, ownership, locks |
//! | `source` | where a server comes from: `local` binaries or `docker` |
//! | `process` | one running server: ready, stop |
//! | `node` | servers that their owner crashes, copies and promotes |
//! | `user` | who the server runs as when we are root |

mod advice;
mod docker;
mod embedded;
pub mod guardian;
mod home;
mod local;
pub(crate) mod node;
mod owner;
mod process;
mod source;
mod user;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde::{Deserialize, Serialize};

pub use self::embedded::{DataDir, Embedded, Stopped};
use self::guardian::Order;
use self::owner::Guardian;
use crate::error::{Error, ErrorKind, Result};

/// The user and the database that every server of ours has.
const NAME: &str = "occupancy";

/// Whether an ephemeral server writes its data through to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// A commit waits for the disk, as on a server that keeps its data. Figures measured on it are
    /// honest.
    #[default]
    Full,
    /// A commit does not wait (`fsync` off). Fast and fine for tests.
    None,
}

/// How to start an [`Ephemeral`] server.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Whether it writes through to the disk.
    pub durability: Durability,
    /// The `occupancy` program, to be run as the guardian. Default: the running program, which is
    /// right in `occupancy` itself and wrong everywhere else.
    pub guardian: Option<PathBuf>,
}

/// A running server, as its guardian describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Running {
    /// Connects as the superuser `occupancy` to the database `occupancy`. Holds a password if the
    /// server listens on TCP.
    pub url: String,
    /// The version and where it comes from, such as `PostgreSQL 17.6 in /usr/lib/postgresql/17/bin`.
    pub version: String,
    /// The server's log.
    pub log: PathBuf,
    /// The port on 127.0.0.1, if it listens there.
    pub port: Option<u16>,
    /// The process id of the guardian, which stops the server on `SIGTERM`.
    pub guardian: u32,
    /// The process id of the server, or of the `docker run` that it hangs on.
    pub process: u32,
}

/// A server for as long as this value, or this process, lives.
///
/// It has an empty database `occupancy`. It listens on a Unix socket in a directory that only its
/// user may enter; one from Docker on 127.0.0.1, on a free port and with a random password. Any
/// number of them may run side by side.
///
/// Local binaries are looked for in the folders of `OCCUPANCY_POSTGRES_BIN` if it is set, else in
/// the `PATH`, in `pg_config --bindir` and in the systems' usual folders; the newest version is
/// taken. Docker runs `OCCUPANCY_POSTGRES_IMAGE`, by default `postgres:17`. For root, who may not
/// run PostgreSQL, the server runs as `postgres` or `nobody`.
#[derive(Debug)]
pub struct Ephemeral {
    guardian: Guardian,
    // Dropped after the guardian, who has removed it if nobody killed him.
    _directory: Remains,
    running: Running,
}

impl Ephemeral {
    /// Starts a server with [`Options::default`].
    ///
    /// # Errors
    /// [`ErrorKind::Server`] if no server could be found or started; the detail names each way that
    /// was tried and why it failed, the hint the command that mends it.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts a server.
    ///
    /// Dropping the future gives it up and leaves nothing behind.
    ///
    /// # Errors
    /// As [`Ephemeral::start`].
    pub async fn start_with(options: Options) -> Result<Self> {
        let order = Order::Ephemeral { durability: options.durability };
        let (guardian, ready) = Guardian::start(options.guardian, &order).await?;
        let running = ready.running;
        let directory = running.log.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { guardian, _directory: Remains(directory), running })
    }

    /// What runs, and where.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Connects as the superuser `occupancy` to the database `occupancy`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.running.url
    }

    /// The server's log, there until the server is stopped.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.running.log
    }

    /// Stops the server and waits until its processes and files are gone.
    ///
    /// Dropping the value does the same, but blocks the thread and keeps a failure to itself.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] if the server had already ended, or something could not be removed.
    pub async fn stop(self) -> Result<()> {
        self.guardian.finish().await
    }
}

/// A directory that must not stay, even if the guardian was killed.
#[derive(Debug)]
struct Remains(PathBuf);

impl Drop for Remains {
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let deadline = Instant::now() + PATIENCE;
        // The server is being stopped then and may still write.
        while self.0.exists() && fs::remove_dir_all(&self.0).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// An error about servers.
fn failure(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Server, message)
}

/// An error from the operating system, about `what`.
fn io_failure(what: impl std::fmt::Display, error: std::io::Error) -> Error {
    failure(format!("{what}: {error}")).caused_by(error)
}
