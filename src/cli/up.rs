//! `occupancy up` and `occupancy down`: a server that keeps its data.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::database::migrate;
use crate::cli::interruption::Interruption;
use crate::cli::{Verdict, output};
use crate::error::{Error, ErrorKind, Result};
use crate::server::{DataDir, Embedded, Stopped};

/// Starts or reuses an embedded PostgreSQL and migrates it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: occupancy up --detach")]
pub(super) struct Up {
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
#[command(after_help = "Example: occupancy down")]
pub(super) struct Down {
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// Where the data is kept [default: ~/.local/share/occupancy, for root /var/lib/occupancy].
    #[arg(long, value_name = "DIR", env = DATA_DIR)]
    data_dir: Option<PathBuf>,
}

const DATA_DIR: &str = "OCCUPANCY_DATA_DIR";

impl Place {
    fn data_dir(self) -> Result<DataDir> {
        self.data_dir.map_or_else(DataDir::default_location, |path| Ok(DataDir::new(path)))
    }
}

/// The data directory of commands that take none.
pub(super) fn default_data_dir() -> Result<DataDir> {
    Place { data_dir: std::env::var_os(DATA_DIR).map(PathBuf::from) }.data_dir()
}

impl Up {
    pub(super) async fn run(self, json: bool, mut interruption: Interruption) -> Result<Verdict> {
        let data_dir = self.place.data_dir()?;
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
            _ = interruption.wait() => {
                return Err(Error::new(ErrorKind::Server, "interrupted before the server was up"));
            }
        };
        report(&server, &data_dir, self.detach, json)?;
        if self.detach || server.is_reused() {
            server.release().await?;
            return Ok(Verdict::Fine);
        }
        tokio::select! {
            error = server.ended() => Err(error),
            _ = interruption.wait() => server.terminate().await.map(|()| Verdict::Fine),
        }
    }
}

impl Down {
    pub(super) async fn run(self, json: bool) -> Result<Verdict> {
        let data_dir = self.place.data_dir()?;
        let (outcome, sentence) = match data_dir.stop().await? {
            Stopped::Stopped => ("stopped", "Stopped the server of"),
            Stopped::NotRunning => ("not_running", "No server runs in"),
        };
        if json {
            output::json(&json!({ "outcome": outcome, "data_dir": data_dir.path() }))?;
        } else {
            output::line(format_args!("{sentence} {}", data_dir.path().display()))?;
        }
        Ok(Verdict::Fine)
    }
}

fn report(server: &Embedded, data_dir: &DataDir, detached: bool, json: bool) -> Result<()> {
    let running = server.running();
    let psql = format!("psql '{}'", running.url);
    if json {
        return output::json(&json!({
            "database_url": running.url,
            "psql": psql,
            "reused": server.is_reused(),
            "version": running.version,
            "data_dir": data_dir.path(),
            "log": running.log,
        }));
    }
    let started = if server.is_reused() { "Already running" } else { "Started" };
    let end = if detached || server.is_reused() { "`occupancy down`" } else { "Ctrl-C" };
    output::line(format_args!(
        "{started}: {}, data in {}\nDATABASE_URL={}\n{psql}\nIt runs until {end}.",
        running.version,
        data_dir.path().display(),
        running.url,
    ))
}
