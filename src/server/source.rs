//! Where a server comes from: local binaries, else Docker.

use std::env;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::advice::install_postgresql;
use super::docker::Docker;
use super::local::{Installation, OLDEST_MAJOR};
use super::process::{Layout, Server, Settings};
use super::user::ServerUser;
use super::{failure, io_failure};
use crate::error::Result;

/// What can run a server here.
#[derive(Debug)]
pub(super) enum Source {
    Local(Installation),
    Docker(Docker),
}

/// Data that a source must be able to go on with.
#[derive(Clone, Debug)]
pub(super) enum Existing {
    /// There is none yet.
    Nothing,
    /// A database cluster of this major version.
    Cluster { data: PathBuf, major: u32 },
    /// This volume of Docker's.
    Volume(String),
}

impl Source {
    /// The first way that works.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Server`] with a line for each way, if none does.
    pub(super) async fn find(existing: Existing) -> Result<Self> {
        let mut failures = Vec::new();
        let (data, major) = match &existing {
            Existing::Cluster { data, major } => (Some(data), Some(*major)),
            Existing::Nothing | Existing::Volume(_) => (None, None),
        };
        if !matches!(existing, Existing::Volume(_)) {
            match Installation::find(major, &ServerUser::candidates(data.map(PathBuf::as_path)))
                .await
            {
                Ok(installation) => return Ok(Self::Local(installation)),
                Err(ways) => failures.extend(ways),
            }
        }
        if major.is_none() {
            match Docker::find().await {
                Ok(docker) => return Ok(Self::Docker(docker)),
                Err(why) => failures.push(format!("Docker: {why}")),
            }
        }
        Err(not_found(&existing, &failures))
    }

    pub(super) fn user(&self) -> &ServerUser {
        match self {
            Self::Local(installation) => installation.user(),
            Self::Docker(_) => &ServerUser::Same,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Local(installation) => installation.describe(),
            Self::Docker(docker) => docker.describe(),
        }
    }

    /// Brings what has to come over the network. May be given up at any time.
    pub(super) async fn fetch(&self) -> Result<()> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Docker(docker) => docker.fetch().await,
        }
    }

    /// A new directory that only the server's user, and root, may enter, short enough for a
    /// socket.
    pub(super) async fn private_temporary(&self) -> Result<TempDir> {
        let places = [env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
        let mut outcome = Err(failure("there is no place for temporary files"));
        for place in places {
            outcome = self.private_directory_in(&place).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn private_directory_in(&self, place: &Path) -> Result<TempDir> {
        let directory = tempfile::Builder::new()
            .prefix("occupancy-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(place)
            .map_err(|e| {
                io_failure(format_args!("cannot create a directory in {}", place.display()), e)
            })?;
        if !fits_a_socket(directory.path()) {
            return Err(failure(format!(
                "{} is too long for a socket",
                directory.path().display()
            )));
        }
        self.user().own(directory.path())?;
        if let Self::Local(installation) = self {
            installation.require_entry(directory.path()).await?;
        }
        Ok(directory)
    }

    /// Starts a server that is thrown away afterwards.
    pub(super) async fn launch_ephemeral(
        &self,
        layout: &Layout,
        settings: &Settings,
    ) -> Result<Server> {
        match self {
            Self::Local(installation) => {
                installation.initialise(layout, None).await?;
                installation.launch(layout, settings, None)
            }
            Self::Docker(docker) => docker.launch(layout, settings, random_password(), None),
        }
    }
}

pub(super) fn random_password() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Whether a socket in this directory has a path that every system accepts.
pub(super) fn fits_a_socket(directory: &Path) -> bool {
    const LONGEST: usize = 103;
    directory.as_os_str().len() + "/.s.PGSQL.65535".len() <= LONGEST
}

fn not_found(existing: &Existing, failures: &[String]) -> crate::error::Error {
    match existing {
        Existing::Nothing => {
            failure(format!("no PostgreSQL {OLDEST_MAJOR} or newer to run was found"))
                .hint(install_postgresql())
        }
        Existing::Cluster { data, major } => failure(format!(
            "the data in {} is of PostgreSQL {major}, which is not installed",
            data.display()
        ))
        .hint(format!("install PostgreSQL {major}, or choose another directory with --data-dir")),
        Existing::Volume(_) => failure("the data is in a volume of Docker, which does not answer")
            .hint("start Docker, or choose another directory with --data-dir"),
    }
    .detail(failures.join("\n"))
}
