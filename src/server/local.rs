//! PostgreSQL from the binaries that are installed on this system.

use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::process::{Access, Layout, Server, Settings, leashed};
use super::user::ServerUser;
use super::{NAME, failure, io_failure};
use crate::error::Result;

/// The oldest major version that we run on.
pub(super) const OLDEST_MAJOR: u32 = 15;

/// Folders to look in instead of all others, separated as in `PATH`.
const FOLDERS_VARIABLE: &str = "OCCUPANCY_POSTGRES_BIN";

/// Where distributions and vendors put the binaries of each version.
const USUAL_FOLDERS: [&str; 10] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/lib64/postgresql*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// One version's binaries and the user who can run them.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    folder: PathBuf,
    major: u32,
    /// As the server prints it: `15.14`.
    version: String,
    user: ServerUser,
}

/// A way to find binaries: its name, and the folders that it leads to or why it leads nowhere.
type Way = (String, std::result::Result<Vec<PathBuf>, String>);

impl Installation {
    /// The newest version that works, of `major` if one is given, and run by one of `users`.
    ///
    /// # Errors
    /// One line for each way that was tried, with why it failed.
    pub(super) async fn find(
        major: Option<u32>,
        users: &[ServerUser],
    ) -> std::result::Result<Self, Vec<String>> {
        let mut failures = Vec::new();
        let mut seen = HashSet::new();
        let mut best: Option<Self> = None;
        for (way, folders) in ways().await {
            let folders = folders.unwrap_or_else(|why| {
                failures.push(format!("{way}: {why}"));
                Vec::new()
            });
            for folder in folders.into_iter().filter(|folder| seen.insert(folder.clone())) {
                match Self::inspect(&folder, users).await.and_then(|found| found.fit(major)) {
                    Ok(found) => {
                        if best.as_ref().is_none_or(|best| best.major < found.major) {
                            best = Some(found);
                        }
                    }
                    Err(why) => failures.push(format!("{way}: {}: {why}", folder.display())),
                }
            }
        }
        best.ok_or(failures)
    }

    /// What is in a folder, tried by really running it as one of `users`.
    async fn inspect(folder: &Path, users: &[ServerUser]) -> std::result::Result<Self, String> {
        if let Some(missing) =
            ["initdb", "postgres"].iter().find(|name| !folder.join(name).is_file())
        {
            return Err(format!("no {missing} there"));
        }
        let mut why = "there is no unprivileged user to run it as".to_owned();
        for user in users {
            let mut command = Command::new(folder.join("postgres"));
            user.run(&mut command).arg("--version").current_dir("/").stdin(Stdio::null());
            match command.output().await {
                Ok(output) if output.status.success() => {
                    return Self::parse(folder, &output.stdout, user);
                }
                Ok(output) => {
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    why = format!("postgres --version, as {user}: {}", stderr.trim());
                }
                Err(error) => why = format!("cannot be run as {user}: {error}"),
            }
        }
        Err(why)
    }

    /// Reads `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
    fn parse(folder: &Path, output: &[u8], user: &ServerUser) -> std::result::Result<Self, String> {
        let text = String::from_utf8_lossy(output);
        let version = text.split_whitespace().nth(2).unwrap_or_default();
        // A version still in the making is `18beta1` or `19devel`.
        let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
        let major = version[..digits]
            .parse()
            .map_err(|_| format!("cannot read its version: {}", text.trim()))?;
        let version = version.to_owned();
        Ok(Self { folder: folder.to_owned(), major, version, user: user.clone() })
    }

    fn fit(self, major: Option<u32>) -> std::result::Result<Self, String> {
        match major {
            _ if self.major < OLDEST_MAJOR => {
                Err(format!("version {}, but {OLDEST_MAJOR} or newer is needed", self.version))
            }
            Some(major) if self.major != major => {
                Err(format!("version {}, but the data is of version {major}", self.version))
            }
            _ => Ok(self),
        }
    }

    pub(super) fn user(&self) -> &ServerUser {
        &self.user
    }

    pub(super) fn describe(&self) -> String {
        format!("PostgreSQL {} in {}", self.version, self.folder.display())
    }

    /// Fails if the server's user cannot enter the directory, whatever its own mode: a parent may
    /// be closed.
    pub(super) async fn require_entry(&self, directory: &Path) -> Result<()> {
        let output = self.command("postgres", directory).arg("--version").output().await;
        match output {
            Ok(_) => Ok(()),
            Err(error) => Err(io_failure(
                format_args!("{} cannot enter {}", self.user, directory.display()),
                error,
            )),
        }
    }

    /// Creates the database cluster of `layout`, all or nothing.
    pub(super) async fn initialise(&self, layout: &Layout, password: Option<&Path>) -> Result<()> {
        let unfinished = layout.root.join("data.new");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(|e| {
                io_failure(format_args!("cannot remove {}", unfinished.display()), e)
            })?;
        }
        let mut command = self.command("initdb", &layout.root);
        command
            .arg("--pgdata")
            .arg(&unfinished)
            .args(["--username", NAME, "--encoding=UTF8", "--locale=C"])
            // The socket's directory is private; nobody else gets as far as to be asked.
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
        match password {
            Some(file) => command.arg("--pwfile").arg(file),
            None => command.arg("--no-sync"),
        };
        let output = command
            .stdout(Stdio::null())
            .output()
            .await
            .map_err(|e| io_failure("cannot run initdb", e))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(failure(format!("initdb failed ({})", output.status)).detail(stderr.trim()));
        }
        std::fs::rename(&unfinished, layout.data())
            .map_err(|e| io_failure("cannot put the new database cluster in place", e))
    }

    /// Starts the server, which listens soon after.
    pub(super) fn launch(
        &self,
        layout: &Layout,
        settings: &Settings,
        password: Option<String>,
    ) -> Result<Server> {
        let mut command = self.command("postgres", &layout.root);
        command.arg("-D").arg(layout.data()).arg("-k").arg(&layout.socket);
        for setting in settings.list() {
            command.arg("-c").arg(setting);
        }
        let access = if let Some(port) = settings.port {
            command.args(["-c", "listen_addresses=127.0.0.1"]);
            command.args(["-c", &format!("port={port}")]);
            Access::tcp(Some(port), password)
        } else {
            command.args(["-c", "listen_addresses=", "-c", "port=5432"]);
            Access::socket(&layout.socket)?
        };
        Server::spawn(command, &layout.log(), access, None)
    }

    /// One of the binaries, to be run as the server's user and to end with this process.
    pub(super) fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = leashed(&self.folder.join(program));
        self.user.run(&mut command).current_dir(directory).stdin(Stdio::null());
        // PGDATA, PGPORT and their kin are meant for another server.
        for (name, _) in env::vars_os().filter(|(name, _)| is_libpq_variable(name)) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        command
    }
}

fn is_libpq_variable(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"PG")
}

/// Every way to find binaries, in the order in which they are tried.
async fn ways() -> Vec<Way> {
    if let Some(folders) = env::var_os(FOLDERS_VARIABLE) {
        let folders: Vec<_> =
            env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()).collect();
        let folders = if folders.is_empty() { Err("is empty".to_owned()) } else { Ok(folders) };
        return vec![(FOLDERS_VARIABLE.to_owned(), folders)];
    }
    vec![
        ("PATH".to_owned(), on_path()),
        ("pg_config --bindir".to_owned(), from_pg_config().await),
        ("usual folders".to_owned(), in_usual_folders()),
    ]
}

fn on_path() -> std::result::Result<Vec<PathBuf>, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path)
        .filter(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file())
        // What is found there may be a link; beside its target is the rest of that version.
        .map(|folder| {
            let target = folder.join("postgres").canonicalize().unwrap_or_default();
            match target.parent() {
                Some(parent) if parent.join("initdb").is_file() => parent.to_owned(),
                _ => folder,
            }
        })
        .collect();
    if folders.is_empty() {
        Err("no folder with initdb and postgres".to_owned())
    } else {
        Ok(folders)
    }
}

async fn from_pg_config() -> std::result::Result<Vec<PathBuf>, String> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| error.to_string())?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if folder.is_empty() { Err(output.status.to_string()) } else { Ok(vec![PathBuf::from(folder)]) }
}

fn in_usual_folders() -> std::result::Result<Vec<PathBuf>, String> {
    let folders: Vec<_> = USUAL_FOLDERS
        .iter()
        .filter_map(|pattern| glob::glob(pattern).ok())
        .flat_map(|paths| paths.filter_map(std::result::Result::ok))
        .filter(|folder| folder.join("postgres").is_file())
        .collect();
    if folders.is_empty() {
        Err(format!("no postgres in any of {}", USUAL_FOLDERS.join(", ")))
    } else {
        Ok(folders)
    }
}
