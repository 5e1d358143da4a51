//! PostgreSQL in a container, where there are no local binaries.

use std::env;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::advice::install_postgresql;
use super::process::{Access, Layout, Server, Settings, Shutdown, leashed};
use super::{NAME, failure, io_failure};
use crate::error::Result;

/// The image to run.
const IMAGE_VARIABLE: &str = "OCCUPANCY_POSTGRES_IMAGE";
const DEFAULT_IMAGE: &str = "postgres:17";

/// A Docker daemon that answers.
#[derive(Debug)]
pub(super) struct Docker {
    image: String,
}

impl Docker {
    const SETTLING_ROUNDS: u32 = 50;

    /// # Errors
    /// Why there is none.
    pub(super) async fn find() -> std::result::Result<Self, String> {
        let output = docker(["version", "--format", "{{.Server.Version}}"])
            .output()
            .await
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let image = env::var(IMAGE_VARIABLE).unwrap_or_else(|_| DEFAULT_IMAGE.to_owned());
        Ok(Self { image })
    }

    pub(super) fn describe(&self) -> String {
        format!("Docker image {}", self.image)
    }

    /// Makes sure that the image is there, which may take minutes the first time.
    pub(super) async fn fetch(&self) -> Result<()> {
        let run = |mut command: Command| async move {
            let output = command.kill_on_drop(true).output().await;
            output.map_err(|e| io_failure("cannot run docker", e))
        };
        if run(docker(["image", "inspect", &self.image])).await?.status.success() {
            return Ok(());
        }
        let pulled = run(docker(["pull", "--quiet", &self.image])).await?;
        if pulled.status.success() {
            return Ok(());
        }
        Err(failure(format!("cannot fetch the Docker image {}", self.image))
            .detail(String::from_utf8_lossy(&pulled.stderr).trim())
            .hint(format!("{}, or name another image in {IMAGE_VARIABLE}", install_postgresql())))
    }

    /// Ends the container that still uses a volume because its guardian was killed. Two servers on
    /// one volume would not see each other, and destroy the data.
    pub(super) async fn settle(&self, volume: &str) -> Result<()> {
        for _ in 0..Self::SETTLING_ROUNDS {
            let known = docker(["container", "inspect", volume]).output().await;
            if !known.map_err(|e| io_failure("cannot run docker", e))?.status.success() {
                return Ok(());
            }
            // In order first; a container that is on its way out refuses both for a moment.
            for end in [["stop", "--time", "60"].as_slice(), &["rm", "--force", "--volumes"]] {
                let _ = docker([]).args(end).arg(volume).output().await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(failure(format!("the container {volume} cannot be removed")))
    }

    /// Starts a container in the foreground, so that it looks like any other server process.
    ///
    /// Its data is in `volume`, whose name it then shares, or goes with the container.
    pub(super) fn launch(
        &self,
        layout: &Layout,
        settings: &Settings,
        password: String,
        volume: Option<&str>,
    ) -> Result<Server> {
        let container = Container { name: volume.map_or_else(unique_name, str::to_owned) };
        let port = settings.port.map(|port| port.to_string()).unwrap_or_default();
        let mut command = leashed(Path::new("docker"));
        command
            .args(["run", "--rm", "--name", &container.name, "--shm-size", "256m"])
            .args(["--publish", &format!("127.0.0.1:{port}:5432")])
            .args(["--env", &format!("POSTGRES_USER={NAME}")])
            .args(["--env", "POSTGRES_INITDB_ARGS=--encoding=UTF8 --locale=C"])
            .args(["--env", "PGDATA=/var/lib/occupancy/data"])
            // Without a value it is taken from our environment, which others cannot read.
            .args(["--env", "POSTGRES_PASSWORD"])
            .env("POSTGRES_PASSWORD", &password);
        if let Some(volume) = volume {
            command.args(["--volume", &format!("{volume}:/var/lib/occupancy")]);
        }
        command.args([&self.image, "postgres"]);
        for setting in settings.list() {
            command.args(["-c", setting]);
        }
        let access = Access::tcp(settings.port, Some(password));
        Server::spawn(command, &layout.log(), access, Some(container))
    }
}

/// A container that was started, or is about to be.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
}

impl Container {
    /// How long the server may take to write everything down.
    const STOP_PATIENCE: Duration = Duration::from_secs(60);

    /// The port on 127.0.0.1 that Docker chose, once it has.
    pub(super) async fn port(&self) -> Option<u16> {
        let output = docker(["port", &self.name, "5432/tcp"]).output().await.ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().next()?.rsplit_once(':')?.1.trim().parse().ok()
    }

    /// Ends the container and `client`, the `docker run` that it was started with.
    pub(super) async fn remove(&self, client: &mut Child, shutdown: Shutdown) -> Result<()> {
        if shutdown == Shutdown::Fast {
            let asked = docker(["kill", "--signal", "INT", &self.name]).output().await;
            if asked.is_ok_and(|output| output.status.success()) {
                let _ = timeout(Self::STOP_PATIENCE, client.wait()).await;
            }
        }
        // The client may be about to create the container: end it in between, and remove again what
        // it may have created meanwhile.
        for _ in 0..2 {
            docker(["rm", "--force", "--volumes", &self.name])
                .output()
                .await
                .map_err(|e| io_failure("cannot remove the container", e))?;
            client.kill().await.map_err(|e| io_failure("cannot end docker run", e))?;
        }
        Ok(())
    }
}

/// A name for a container or a volume.
pub(super) fn unique_name() -> String {
    format!("{NAME}-{:016x}", rand::random::<u64>())
}

fn docker<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(Stdio::null());
    command
}
