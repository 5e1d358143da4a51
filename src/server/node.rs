//! Servers that their owner mistreats: stopped at once, started again, copied, promoted.
//!
//! They run from local binaries as children of this process. The system ends them with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use super::advice::install_postgresql;
use super::local::Installation;
pub(crate) use super::process::leashed_by;
use super::process::{Access, Layout, Server, Settings, Shutdown};
use super::source::{Existing, Source};
use super::{Durability, NAME, Running, failure, io_failure};
use crate::error::Result;

/// Binaries, and a private directory that everything is in.
pub(crate) struct Yard {
    installation: Installation,
    directory: TempDir,
}

/// One server with its data.
pub(crate) struct Node {
    installation: Installation,
    layout: Layout,
    settings: Settings,
    server: Option<Server>,
}

impl Yard {
    pub(crate) async fn open() -> Result<Self> {
        let source = Source::find(Existing::Nothing).await?;
        let directory = source.private_temporary().await?;
        match source {
            Source::Local(installation) => Ok(Self { installation, directory }),
            Source::Docker(_) => {
                Err(failure("a server in a container cannot be mistreated from outside")
                    .hint(install_postgresql()))
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        self.installation.describe()
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A directory of the server's user. What is mounted there becomes his as well.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir_all(&path)
            .map_err(|e| io_failure(format_args!("cannot create {}", path.display()), e))?;
        self.installation.user().own(&path)?;
        Ok(path)
    }

    /// A new server in the directories `root` and `socket`; it does not run yet.
    pub(crate) async fn create(&self, root: &str, socket: &str, settings: &[&str]) -> Result<Node> {
        let node = self.node(root, socket, settings)?;
        node.installation.initialise(&node.layout, None).await?;
        Ok(node)
    }

    /// A standby of the server that `primary` leads to; it does not run yet.
    pub(crate) async fn copy(
        &self,
        primary: &str,
        root: &str,
        socket: &str,
        settings: &[&str],
    ) -> Result<Node> {
        let node = self.node(root, socket, settings)?;
        let mut command = node.installation.command("pg_basebackup", &node.layout.root);
        let output = command
            .args(["--dbname", primary, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .arg("--pgdata")
            .arg(node.layout.data())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|e| io_failure("cannot run pg_basebackup", e))?;
        if output.status.success() {
            return Ok(node);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(failure(format!("pg_basebackup failed ({})", output.status)).detail(stderr.trim()))
    }

    fn node(&self, root: &str, socket: &str, settings: &[&str]) -> Result<Node> {
        let layout = Layout { root: self.directory(root)?, socket: self.directory(socket)? };
        let settings = Settings {
            durability: Durability::Full,
            port: None,
            further: settings.iter().map(|setting| (*setting).to_owned()).collect(),
        };
        Ok(Node { installation: self.installation.clone(), layout, settings, server: None })
    }

    /// Removes everything. All nodes have been stopped, and nothing is mounted there any more.
    pub(crate) fn close(self) -> Result<()> {
        let path = self.path().to_owned();
        self.directory
            .close()
            .map_err(|e| io_failure(format_args!("cannot remove {}", path.display()), e))
    }
}

impl Node {
    /// Starts the server and waits until it answers.
    pub(crate) async fn start(&mut self) -> Result<Running> {
        let server = self.installation.launch(&self.layout, &self.settings, None)?;
        self.server.insert(server).ready(self.installation.describe()).await
    }

    /// Ends the server as a crash would: nothing is written down any more.
    pub(crate) async fn stop_at_once(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.stop(Shutdown::Immediate).await,
            None => Ok(()),
        }
    }

    /// Whether the server is down without having been told to.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.server.as_mut().is_some_and(Server::has_ended)
    }

    /// Connects as the superuser.
    pub(crate) fn url(&self) -> Result<String> {
        Ok(Access::socket(&self.layout.socket)?.url(NAME))
    }

    /// Where its socket is.
    pub(crate) fn socket(&self) -> &Path {
        &self.layout.socket
    }

    /// What it has said since it was created.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.layout.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}
