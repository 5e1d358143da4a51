//! The directory of a server that keeps its data.
//!
//! | entry | is |
//! |---|---|
//! | `data/` | the database cluster |
//! | `run/` | the socket, unless the path is too long for one |
//! | `server.log`, `server.log.1` | the log of this run and of the one before |
//! | `password` | the superuser's password, for TCP |
//! | `volume` | the name of Docker's volume, which then holds the data |
//! | `lock` | locked by the guardian that keeps the server; what it says of itself |
//! | `users` | locked (shared) by the guardian of everybody who uses the server |
//! | `keep` | there if the server is to run without users |
//!
//! The kernel gives a lock back when its holder dies, so no file here can be stale in a way that
//! matters.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind as IoErrorKind, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::time::{interval, timeout};
use tokio_postgres::NoTls;

use super::docker;
use super::process::{Layout, Server, Settings};
use super::source::{Existing, Source, fits_a_socket, random_password};
use super::{Durability, Running, failure, io_failure};
use crate::error::Result;

const LOCK: &str = "lock";
/// How often a lock that others hold is tried again.
const POLL: Duration = Duration::from_millis(50);
/// How long others may take to start or stop the server.
const PATIENCE: Duration = Duration::from_secs(180);

/// A data directory that is ours, or was empty.
#[derive(Debug)]
pub(super) struct Home {
    root: PathBuf,
}

/// A share in the server: it is not stopped meanwhile, unless somebody asks for it.
#[derive(Debug)]
pub(super) struct User(Flock<File>);

/// The right to run the server, and the place to say so.
#[derive(Debug)]
pub(super) struct Keeper(Flock<File>);

/// How the server was found.
#[derive(Debug)]
pub(super) enum Joined {
    /// Not running: start it.
    First(User, Keeper),
    /// Running.
    Further(User, Running),
}

/// What a keeper says of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    guardian: i32,
    running: Option<Running>,
}

impl Home {
    /// Opens a data directory, and creates it if it is not there.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Server`] if something else is there, which is left alone.
    pub(super) fn open(root: &Path) -> Result<Self> {
        if let Some(home) = Self::existing(root)? {
            return Ok(home);
        }
        let created = root
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| DirBuilder::new().mode(0o700).create(root));
        match created {
            Err(error) if error.kind() != IoErrorKind::AlreadyExists => {
                Err(io_failure(format_args!("cannot create {}", root.display()), error))
            }
            _ => Ok(Self { root: root.to_owned() }),
        }
    }

    /// A data directory that is there already.
    pub(super) fn existing(root: &Path) -> Result<Option<Self>> {
        let entries = match fs::read_dir(root).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let what = format!("cannot use {} as data directory", root.display());
                return Err(io_failure(what, error)
                    .hint("choose another directory with --data-dir, or run as its owner"));
            }
        };
        // The lock file comes first, so that where anything of ours was seen it now is.
        if entries.is_empty() || root.join(LOCK).exists() {
            return Ok(Some(Self { root: root.to_owned() }));
        }
        Err(failure(format!("{} is not empty and not a data directory of ours", root.display()))
            .hint("choose another directory with --data-dir"))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Joins the users of the server. Waits while it is being started or stopped.
    pub(super) async fn join(&self) -> Result<Joined> {
        let joined = timeout(PATIENCE, async {
            let mut tick = interval(POLL);
            // The first entry in the directory, by which it is known as ours.
            self.open_lock(LOCK)?;
            let user = loop {
                tick.tick().await;
                if let Some(lock) = self.try_lock("users", FlockArg::LockSharedNonblock)? {
                    break User(lock);
                }
            };
            loop {
                if let Some(keeper) = self.try_keep()? {
                    return Ok(Joined::First(user, keeper));
                }
                if let Some(running) = self.state()?.running
                    && answers(&running).await
                {
                    return Ok(Joined::Further(user, running));
                }
                tick.tick().await;
            }
        });
        joined.await.unwrap_or_else(|_| {
            Err(failure(format!(
                "another process starts or stops the server of {} and does not come to an end",
                self.root.display()
            )))
        })
    }

    /// Stops the server. False if it was not running.
    pub(super) async fn stop(&self) -> Result<bool> {
        let stopped = timeout(PATIENCE, async {
            let mut tick = interval(POLL);
            let mut told = None;
            while self.path(LOCK).exists() && self.try_keep()?.is_none() {
                let guardian = self.state()?.guardian;
                // It holds the lock, so it lives and the id is its own. Another keeper may have
                // taken over meanwhile: that one was started after we were called.
                if guardian > 0 && told.is_none() {
                    kill(Pid::from_raw(guardian), Signal::SIGTERM).map_err(|e| {
                        io_failure("cannot stop the server", e.into()).hint("run as its owner")
                    })?;
                    told = Some(guardian);
                } else if told.is_some_and(|told| told != guardian && guardian > 0) {
                    break;
                }
                tick.tick().await;
            }
            Ok(told.is_some())
        });
        stopped.await.unwrap_or_else(|_| {
            Err(failure(format!("the server of {} does not stop", self.root.display())))
        })
    }

    /// Whether the server should run without users.
    fn is_kept(&self) -> bool {
        self.path("keep").exists()
    }

    /// Decides whether the server should run without users.
    pub(super) fn keep_running(&self, keep: bool) -> Result<()> {
        let path = self.path("keep");
        // Removed first: it may belong to another user than we are.
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() != IoErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        removed
            .and_then(|()| if keep { File::create(&path).map(drop) } else { Ok(()) })
            .map_err(|e| io_failure(format_args!("cannot change {}", path.display()), e))
    }

    /// The data that is there.
    pub(super) fn holds(&self) -> Result<Existing> {
        if let Ok(volume) = fs::read_to_string(self.path("volume")) {
            return Ok(Existing::Volume(volume));
        }
        let data = self.path("data");
        let Ok(version) = fs::read_to_string(data.join("PG_VERSION")) else {
            return Ok(Existing::Nothing);
        };
        let major = version.trim().parse();
        major
            .map(|major| Existing::Cluster { data, major })
            .map_err(|_| failure(format!("the data in {} is damaged", self.root.display())))
    }

    /// Makes everything ready for the server to be launched: who owns the files, the cluster, the
    /// place of the socket.
    pub(super) async fn prepare(&self, source: Source, port: Option<u16>) -> Result<Prepared> {
        if let Some(port) = port {
            require_free(port)?;
        }
        self.hand_over(&source)?;
        let password = self.password(&source)?;
        let mut layout = Layout { root: self.root.clone(), socket: self.path("run") };
        let (mut socket, mut volume) = (None, None);
        match (&source, self.holds()?) {
            (Source::Docker(docker), Existing::Volume(name)) => {
                docker.settle(&name).await?;
                volume = Some(name);
            }
            (Source::Docker(_), _) => {
                let name = docker::unique_name();
                write_private(&self.path("volume"), &name)?;
                volume = Some(name);
            }
            (Source::Local(installation), existing) => {
                let entered = installation.require_entry(&self.root).await;
                entered.map_err(|e| e.hint("choose another directory with --data-dir"))?;
                if !matches!(existing, Existing::Cluster { .. }) {
                    installation.initialise(&layout, Some(&self.path("password"))).await?;
                }
                settle(&layout.data()).await?;
                if fits_a_socket(&layout.socket) {
                    self.renew_run(&source)?;
                } else {
                    let directory = source.private_temporary().await?;
                    directory.path().clone_into(&mut layout.socket);
                    socket = Some(directory);
                }
            }
        }
        let settings = Settings { durability: Durability::Full, port, further: Vec::new() };
        Ok(Prepared { source, layout, settings, password, volume, _socket: socket })
    }

    /// Makes the directory private and gives it to the server's user.
    fn hand_over(&self, source: &Source) -> Result<()> {
        let cannot = |e| io_failure(format_args!("cannot prepare {}", self.root.display()), e);
        fs::set_permissions(&self.root, Permissions::from_mode(0o700)).map_err(cannot)?;
        source.user().own(&self.root)?;
        for entry in fs::read_dir(&self.root).map_err(cannot)? {
            source.user().own(&entry.map_err(cannot)?.path())?;
        }
        match fs::rename(self.path("server.log"), self.path("server.log.1")) {
            Err(error) if error.kind() != IoErrorKind::NotFound => Err(cannot(error)),
            _ => Ok(()),
        }
    }

    /// A new directory for the socket, without what a server that was killed left of it.
    fn renew_run(&self, source: &Source) -> Result<()> {
        let run = self.path("run");
        let cannot = |e| io_failure(format_args!("cannot create {}", run.display()), e);
        match fs::remove_dir_all(&run) {
            Err(error) if error.kind() != IoErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&run).map_err(cannot)?;
        source.user().own(&run)
    }

    /// The superuser's password, made up on first use.
    fn password(&self, source: &Source) -> Result<String> {
        let path = self.path("password");
        if let Ok(password) = fs::read_to_string(&path) {
            return Ok(password);
        }
        let password = random_password();
        write_private(&path, &password)?;
        source.user().own(&path)?;
        Ok(password)
    }

    /// Removes what a failed first start leaves, so that the next one finds nothing odd.
    pub(super) fn forget_if_unused(&self) {
        if self.path("data").exists() || self.path("volume").exists() {
            return;
        }
        for name in ["password", "keep", "users", LOCK] {
            let _ = fs::remove_file(self.path(name));
        }
        // Fails if there is more, and rightly so.
        let _ = fs::remove_dir(&self.root);
    }

    fn try_keep(&self) -> Result<Option<Keeper>> {
        Ok(self.try_lock(LOCK, FlockArg::LockExclusiveNonblock)?.map(Keeper))
    }

    fn try_lock(&self, name: &str, kind: FlockArg) -> Result<Option<Flock<File>>> {
        match Flock::lock(self.open_lock(name)?, kind) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(io_failure("cannot lock the data directory", errno.into())),
        }
    }

    fn open_lock(&self, name: &str) -> Result<File> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&path).map_err(|e| {
            io_failure(format_args!("cannot open {}", path.display()), e)
                .hint("choose another directory with --data-dir, or run as its owner")
        })
    }

    /// What the keeper says of itself. Half written counts as nothing.
    fn state(&self) -> Result<State> {
        let path = self.path(LOCK);
        let text = fs::read(&path)
            .map_err(|e| io_failure(format_args!("cannot read {}", path.display()), e))?;
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl User {
    /// Whether the server can be stopped, as nobody else uses it and nobody keeps it. From then on
    /// newcomers wait until this process has ended.
    pub(super) fn is_last(&self, home: &Home) -> bool {
        !home.is_kept() && self.0.relock(FlockArg::LockExclusiveNonblock).is_ok()
    }

    /// Waits until [`User::is_last`].
    pub(super) async fn last(&self, home: &Home) {
        let mut tick = interval(POLL);
        while !self.is_last(home) {
            if home.is_kept() {
                std::future::pending::<()>().await;
            }
            tick.tick().await;
        }
    }
}

impl Keeper {
    /// Tells others whom to tell when the server should stop.
    pub(super) fn take_over(&mut self) -> Result<()> {
        self.write(None)
    }

    /// Tells others where the server listens.
    pub(super) fn announce(&mut self, running: &Running) -> Result<()> {
        self.write(Some(running.clone()))
    }

    fn write(&mut self, running: Option<Running>) -> Result<()> {
        let state = State { guardian: std::process::id().cast_signed(), running };
        let text = serde_json::to_vec(&state).map_err(io::Error::from);
        text.and_then(|text| {
            self.0.set_len(0)?;
            self.0.rewind()?;
            self.0.write_all(&text)
        })
        .map_err(|e| io_failure("cannot write the lock file", e))
    }
}

/// A server that has everything that it needs.
#[derive(Debug)]
pub(super) struct Prepared {
    source: Source,
    layout: Layout,
    settings: Settings,
    password: String,
    volume: Option<String>,
    /// The socket's directory, if it is not in the data directory. Removed with this value.
    _socket: Option<TempDir>,
}

impl Prepared {
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn launch(&self) -> Result<Server> {
        let Self { layout, settings, .. } = self;
        match &self.source {
            Source::Local(installation) => {
                installation.launch(layout, settings, Some(self.password.clone()))
            }
            Source::Docker(docker) => {
                docker.launch(layout, settings, self.password.clone(), self.volume.as_deref())
            }
        }
    }
}

/// Whether a server that is said to run can be reached.
async fn answers(running: &Running) -> bool {
    tokio_postgres::connect(&running.url, NoTls).await.is_ok()
}

/// Fails if somebody listens on the port already, in words that a person understands.
fn require_free(port: u16) -> Result<()> {
    std::net::TcpListener::bind(("127.0.0.1", port)).map(drop).map_err(|e| {
        io_failure(format_args!("cannot listen on port {port}"), e)
            .hint("choose another one with --port")
    })
}

/// Deals with what the last server left if it or its guardian was killed.
///
/// We hold the lock, so no guardian cares for that server. If it still runs it is stopped. If not,
/// its `postmaster.pid` goes: the process id in it may be somebody else's by now, and PostgreSQL
/// would take that for a running server. It recognises forgotten backends even without the file.
async fn settle(data: &Path) -> Result<()> {
    let path = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let process_files = Path::new("/proc/self/cwd").exists();
    let Some(Ok(id)) = text.lines().next().map(str::parse::<i32>).filter(|_| process_files) else {
        // PostgreSQL decides for itself.
        return Ok(());
    };
    // A postmaster's working directory is its data.
    let here = fs::canonicalize(data).unwrap_or_default();
    let runs = || fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd == here);
    let mut tick = interval(POLL);
    let stopped = timeout(PATIENCE, async {
        if runs() {
            let _ = kill(Pid::from_raw(id), Signal::SIGINT);
        }
        while runs() {
            tick.tick().await;
        }
    });
    stopped.await.map_err(|_| failure(format!("the server with process id {id} does not stop")))?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != IoErrorKind::NotFound => {
            Err(io_failure(format_args!("cannot remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| io_failure(format_args!("cannot write {}", path.display()), e))
}
