//! `occupancy up` and `occupancy down`: a server that keeps its data.

use std::path::PathBuf;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, ErrorKind, Result};
use crate::server::{DataDir, Embedded, Stopped};

/// Starts or reuses an embedded PostgreSQL and migrates it.
#[derive(Clone, Debug, clap::Args)]
pub struct Up {
    #[command(flatten)]
    place: Place,
    /// Listen on this port of 127.0.0.1, too.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Return at once and leave the server running, until `occupancy down`.
    #[arg(long)]
    detach: bool,
}

/// Stops the embedded PostgreSQL.
#[derive(Clone, Debug, clap::Args)]
pub struct Down {
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// Where the data is kept [default: ~/.local/share/occupancy, for root /var/lib/occupancy].
    #[arg(long, value_name = "DIR", env = "OCCUPANCY_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn data_dir(self) -> Result<DataDir> {
        self.data_dir.map_or_else(DataDir::default_location, |path| Ok(DataDir::new(path)))
    }
}

impl Up {
    /// Runs the command. `migrate` brings the database of a URL up to date.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] if there is no server to be had, or it ends by itself; what `migrate`
    /// says, and then a server that was started for this is stopped again.
    pub async fn run(
        self,
        json: bool,
        migrate: impl AsyncFnOnce(&str) -> Result<()>,
    ) -> Result<()> {
        let data_dir = self.place.data_dir()?;
        let mut interruption = Interruption::listen()?;
        let work = async {
            let server = if self.detach {
                data_dir.detach(self.port).await?
            } else {
                data_dir.serve(self.port).await?
            };
            match migrate(server.url()).await {
                Err(error) if !server.is_reused() => {
                    server.terminate().await?;
                    Err(error)
                }
                outcome => outcome.map(|()| server),
            }
        };
        let mut server = tokio::select! {
            server = work => server?,
            () = interruption.wait() => {
                return Err(Error::new(ErrorKind::Server, "interrupted before the server was up"));
            }
        };
        report(&server, &data_dir, self.detach, json);
        if self.detach || server.is_reused() {
            return server.release().await;
        }
        tokio::select! {
            error = server.ended() => Err(error),
            () = interruption.wait() => server.terminate().await,
        }
    }
}

impl Down {
    /// Runs the command.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] if the directory is not ours or the server does not stop.
    pub async fn run(self, json: bool) -> Result<()> {
        let data_dir = self.place.data_dir()?;
        let (outcome, sentence) = match data_dir.stop().await? {
            Stopped::Stopped => ("stopped", "Stopped the server of"),
            Stopped::NotRunning => ("not_running", "No server runs in"),
        };
        if json {
            println!("{}", json!({ "outcome": outcome, "data_dir": data_dir.path() }));
        } else {
            println!("{sentence} {}", data_dir.path().display());
        }
        Ok(())
    }
}

fn report(server: &Embedded, data_dir: &DataDir, detached: bool, json: bool) {
    let running = server.running();
    let psql = format!("psql '{}'", running.url);
    if json {
        let report = json!({
            "database_url": running.url,
            "psql": psql,
            "reused": server.is_reused(),
            "version": running.version,
            "data_dir": data_dir.path(),
            "log": running.log,
        });
        println!("{report}");
        return;
    }
    let started = if server.is_reused() { "Already running" } else { "Started" };
    println!("{started}: {}, data in {}", running.version, data_dir.path().display());
    println!("DATABASE_URL={}", running.url);
    println!("{psql}");
    if detached || server.is_reused() {
        println!("It runs until `occupancy down`.");
    } else {
        println!("It runs until Ctrl-C.");
    }
}

/// Whatever ends a command that runs in the foreground.
struct Interruption([tokio::signal::unix::Signal; 3]);

impl Interruption {
    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|e| {
                Error::new(ErrorKind::Io, format!("cannot listen to signals: {e}")).caused_by(e)
            })
        };
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
