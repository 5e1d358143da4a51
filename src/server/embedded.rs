//! Servers with a data directory, as their users see them.

use std::env;
use std::path::{Path, PathBuf, absolute};

use super::guardian::{Order, Purpose, Reply};
use super::home::Home;
use super::owner::Guardian;
use super::{NAME, Running, failure, io_failure};
use crate::error::{Error, Result};

/// A share in the server of a data directory.
///
/// At most one server runs there, however many processes ask for it at once: the first one's
/// guardian starts it and the others use it. It ends with the last of them, unless it was started
/// or taken over by [`Embedded::detach`].
#[derive(Debug)]
pub struct Embedded {
    guardian: Guardian,
    running: Running,
    reused: bool,
}

impl Embedded {
    /// Uses the server of `data_dir`, and starts it for as long as it is used if it does not run.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Server`] if the directory holds something else, belongs to another user
    /// or to a version that is not installed, or if the server could not be found or started.
    pub async fn attach_or_start(data_dir: &Path) -> Result<Self> {
        Self::ask(data_dir, None, Purpose::Borrow).await
    }

    /// As [`Embedded::attach_or_start`], with a server that also listens on `port` of 127.0.0.1 if
    /// one is given, and that the caller means to [terminate](Embedded::terminate). One that ran
    /// already is from now on kept running until it is [stopped](stop).
    ///
    /// # Errors
    /// As [`Embedded::attach_or_start`]; and if the port is taken, or the server runs on another.
    pub async fn serve(data_dir: &Path, port: Option<u16>) -> Result<Self> {
        Self::ask(data_dir, port, Purpose::Serve).await
    }

    /// As [`Embedded::serve`], with a server that outlives this process, until it is
    /// [stopped](stop).
    ///
    /// # Errors
    /// As [`Embedded::serve`].
    pub async fn detach(data_dir: &Path, port: Option<u16>) -> Result<Self> {
        Self::ask(data_dir, port, Purpose::Detach).await
    }

    async fn ask(data_dir: &Path, port: Option<u16>, purpose: Purpose) -> Result<Self> {
        let data_dir = full(data_dir)?;
        let order = Order::Embedded { data_dir, port, purpose };
        let (guardian, ready) = Guardian::start(None, &order).await?;
        Ok(Self { guardian, running: ready.running, reused: ready.reused })
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

    /// Whether the server ran before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Waits for a server that ends by itself, and says why.
    pub async fn ended(&mut self) -> Error {
        match self.guardian.next_reply().await {
            Ok(Some(Reply::Failed(failed))) => failed.into(),
            Ok(_) => failure("the server was stopped"),
            Err(error) => error,
        }
    }

    /// Stops using the server. If nobody else does, and it was not detached, it is stopped, and
    /// this waits for it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Server`] if it had ended already or could not be stopped.
    pub async fn release(self) -> Result<()> {
        self.guardian.finish().await
    }

    /// Stops a server that we started, whoever uses it, and waits until it is gone.
    ///
    /// # Errors
    /// As [`Embedded::release`].
    pub async fn terminate(self) -> Result<()> {
        self.guardian.terminate().await
    }
}

/// What [`stop`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The server ran, and is gone.
    Stopped,
    /// There was none.
    NotRunning,
}

/// Stops the server of a data directory, whoever uses it, and waits until it is gone.
///
/// # Errors
/// [`crate::ErrorKind::Server`] if the directory holds something else or belongs to another user,
/// or the server does not stop.
pub async fn stop(data_dir: &Path) -> Result<Stopped> {
    match Home::existing(&full(data_dir)?)? {
        Some(home) if home.stop().await? => Ok(Stopped::Stopped),
        _ => Ok(Stopped::NotRunning),
    }
}

/// The data directory of who says nothing else: `$XDG_DATA_HOME/occupancy`,
/// `~/.local/share/occupancy`, or for root, whose home the server's user cannot enter,
/// `/var/lib/occupancy`.
///
/// # Errors
/// [`crate::ErrorKind::Server`] without a home directory.
pub fn default_data_dir() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Ok(Path::new("/var/lib").join(NAME));
    }
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join(NAME))
        .ok_or_else(|| {
            failure("there is no home directory to keep the data in")
                .hint("choose a directory with --data-dir")
        })
}

fn full(path: &Path) -> Result<PathBuf> {
    absolute(path).map_err(|e| io_failure(format_args!("cannot find {}", path.display()), e))
}
