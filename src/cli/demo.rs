//! `occupancy demo`: the main job, end to end.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tempfile::TempDir;

use crate::cli::database::migrate;
use crate::cli::{Verdict, output, summary};
use crate::error::{Error, ErrorKind, Result};
use crate::server::{DataDir, Embedded, Ephemeral, Running};
use crate::workload::demo::{Options, run};
use crate::workload::progress::Progress;

/// Shows everything at work: a server of its own, several managers, limits that are really hit.
///
/// Needs no set-up and leaves nothing behind.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy demo --managers 8 --seed 7")]
pub(super) struct Demo {
    /// How many managers work at once.
    #[arg(long, value_name = "N", default_value_t = 6,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    managers: u16,
    /// How long they work.
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// What they ask for follows from this number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave the server and the last sessions running, to look around with psql.
    #[arg(long)]
    keep: bool,
}

/// The demo's server. Whichever way the demo ends, it goes with this value.
enum Server {
    Ephemeral(Ephemeral),
    /// In the order in which they have to go.
    Keepable(Embedded, DataDir, TempDir),
}

impl Server {
    async fn start(keepable: bool) -> Result<Self> {
        if !keepable {
            return Ephemeral::start().await.map(Self::Ephemeral);
        }
        let directory =
            tempfile::Builder::new().prefix("occupancy-demo-").tempdir().map_err(|e| {
                Error::new(ErrorKind::Io, "cannot make a temporary directory").caused_by(e)
            })?;
        let data_dir = DataDir::new(directory.path());
        Ok(Self::Keepable(data_dir.attach_or_start().await?, data_dir, directory))
    }

    fn running(&self) -> &Running {
        match self {
            Self::Ephemeral(server) => server.running(),
            Self::Keepable(server, ..) => server.running(),
        }
    }

    /// Stops it, or leaves it to the user and tells where it is.
    async fn finish(self) -> Result<Option<PathBuf>> {
        match self {
            Self::Ephemeral(server) => server.stop().await.map(|()| None),
            Self::Keepable(server, data_dir, directory) => {
                data_dir.detach(None).await?.release().await?;
                server.release().await?;
                Ok(Some(directory.keep()))
            }
        }
    }
}

fn look_around(url: &str, directory: impl std::fmt::Display) -> String {
    format!(
        "The server is still there:\n  \
           psql '{url}'\n    \
             select * from occupancy.concurrency;\n    \
             select * from occupancy.agent_occupancy;\n    \
             select * from occupancy.sessions;\n    \
             \\df+ occupancy.*\n  \
           DATABASE_URL='{url}' occupancy status\n\
         To stop and to remove it:\n  \
           occupancy down --data-dir {directory} && rm -r {directory}\n"
    )
}

impl Demo {
    pub(super) async fn run(self, json: bool) -> Result<Verdict> {
        let progress = Progress::new();
        progress.say("starting PostgreSQL");
        let server = Server::start(self.keep).await?;
        progress.say(&format!("{}, installing the schema", server.running().version));
        let url = server.running().url.clone();
        migrate(&url).await?;
        let options = Options {
            managers: usize::from(self.managers),
            work_for: Duration::from_secs(self.seconds),
            seed: self.seed,
            leave_sessions: self.keep,
        };
        let summary = run(&url.parse()?, options, &progress).await?;
        let data_dir = server.finish().await?;
        if json {
            let url = self.keep.then_some(url);
            output::json(
                &json!({ "summary": summary, "database_url": url, "data_dir": data_dir }),
            )?;
        } else {
            output::line(format_args!("\n{}\n", summary::describe(&summary)))?;
            if let Some(data_dir) = data_dir {
                output::line(look_around(&url, data_dir.display()))?;
            }
            output::line(summary::verdict(&summary))?;
        }
        Ok(Verdict::unsound_if(!summary.broken.is_empty()))
    }
}
