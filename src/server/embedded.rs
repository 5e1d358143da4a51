//! Servers with a data directory, as their users see them.

use std::env;
use std::path::{Path, PathBuf, absolute};

use super::guardian::{Order, Purpose, Reply};
use super::home::Home;
use super::owner::Guardian;
use super::{NAME, Running, failure, io_failure};
use crate::error::{Error, Result};

/// A directory that a server keeps its data in.
///
/// At most one server runs there, however many processes ask for it at once: the guardian of the
/// first starts it, the others use it.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    guardian: Option<PathBuf>,
}

/// A share in the server of a [`DataDir`]. The server ends with the last one, unless it was told to
/// go on.
#[derive(Debug)]
pub struct Embedded {
    guardian: Guardian,
    running: Running,
    reused: bool,
}

impl DataDir {
    /// A directory that is created when a server is started there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), guardian: None }
    }

    /// The directory of who names none: `$XDG_DATA_HOME/occupancy`, `~/.local/share/occupancy`, or
    /// for root, whose home the server's user cannot enter, `/var/lib/occupancy`.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Server`] without a home directory.
    pub fn default_location() -> Result<Self> {
        if nix::unistd::geteuid().is_root() {
            return Ok(Self::new(Path::new("/var/lib").join(NAME)));
        }
        let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        set("XDG_DATA_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".local/share")))
            .map(|data| Self::new(data.join(NAME)))
            .ok_or_else(|| {
                failure("there is no home directory to keep the data in")
                    .hint("choose a directory with --data-dir")
            })
    }

    /// Sets the `occupancy` program, to be run as the guardian. See [`super::Options::guardian`].
    #[must_use]
    pub fn with_guardian(mut self, program: impl Into<PathBuf>) -> Self {
        self.guardian = Some(program.into());
        self
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Uses the server, and starts it for as long as it is used if it does not run.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Server`] if the directory holds something else, belongs to another user
    /// or to a version that is not installed, or if the server could not be found or started.
    pub async fn attach_or_start(&self) -> Result<Embedded> {
        self.ask(None, Purpose::Borrow).await
    }

    /// As [`DataDir::attach_or_start`], with a server that also listens on `port` of 127.0.0.1 if
    /// one is given, and that the caller means to [terminate](Embedded::terminate). One that ran
    /// already is from now on kept running until it is [stopped](DataDir::stop).
    ///
    /// # Errors
    /// As [`DataDir::attach_or_start`]; and if the port is taken, or the server runs on another.
    pub async fn serve(&self, port: Option<u16>) -> Result<Embedded> {
        self.ask(port, Purpose::Serve).await
    }

    /// As [`DataDir::serve`], with a server that outlives this process, until it is
    /// [stopped](DataDir::stop).
    ///
    /// # Errors
    /// As [`DataDir::serve`].
    pub async fn detach(&self, port: Option<u16>) -> Result<Embedded> {
        self.ask(port, Purpose::Detach).await
    }

    async fn ask(&self, port: Option<u16>, purpose: Purpose) -> Result<Embedded> {
        let order = Order::Embedded { data_dir: self.absolute()?, port, purpose };
        let (guardian, ready) = Guardian::start(self.guardian.clone(), &order).await?;
        Ok(Embedded { guardian, running: ready.running, reused: ready.reused })
    }

    /// Stops the server, whoever uses it, and waits until it is gone.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Server`] if the directory is not ours or belongs to another user, or the
    /// server does not stop.
    pub async fn stop(&self) -> Result<Stopped> {
        match Home::existing(&self.absolute()?)? {
            Some(home) if home.stop().await? => Ok(Stopped::Stopped),
            _ => Ok(Stopped::NotRunning),
        }
    }

    fn absolute(&self) -> Result<PathBuf> {
        absolute(&self.path)
            .map_err(|e| io_failure(format_args!("cannot find {}", self.path.display()), e))
    }
}

impl Embedded {
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
    /// [`crate::error::ErrorKind::Server`] if it had ended already or could not be stopped.
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

/// What [`DataDir::stop`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The server ran, and is gone.
    Stopped,
    /// There was none.
    NotRunning,
}
