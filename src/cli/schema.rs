//! The schema runner.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::{Verdict, output};
use crate::config::Config;
use crate::error::Result;
use crate::schema::{MigrationState, Runner, SourcesOutcome, SourcesState};

/// Installs the schema or brings it up to date; safe to run from many processes at once.
#[derive(Debug, Args)]
#[command(after_help = "Example: occupancy migrate --database-url postgresql://admin@db/platform")]
pub(super) struct Migrate;

impl Migrate {
    pub(super) async fn run(self, config: &Config, json: bool) -> Result<Verdict> {
        let report = Runner::embedded()?.migrate(&mut config.connect().await?).await?;
        let sentence = match report.sources {
            SourcesOutcome::Applied if report.applied.is_empty() => "updated the functions".into(),
            SourcesOutcome::Applied => format!("applied {}", report.applied.join(", ")),
            SourcesOutcome::Current => "up to date".into(),
            SourcesOutcome::KeptNewer => "kept the functions of a newer release".into(),
        };
        output::either(json, &report, sentence)?;
        Ok(Verdict::Fine)
    }
}

/// Examines the installed schema.
#[derive(Debug, Subcommand)]
pub(super) enum Schema {
    /// Compares this release with what is installed.
    #[command(after_help = "Example: occupancy schema status")]
    Status,
    /// Finds what was changed in the database by hand; exits with 3 then.
    #[command(after_help = "Example: occupancy schema verify")]
    Verify,
    /// Prints an install script for psql.
    #[command(after_help = "Example: occupancy schema print | psql --single-transaction platform")]
    Print,
}

impl Schema {
    pub(super) async fn run(self, config: &Config, json: bool) -> Result<Verdict> {
        match self {
            Self::Status => status(config, json).await,
            Self::Verify => verify(config, json).await,
            Self::Print => print(json),
        }
    }
}

async fn status(config: &Config, json: bool) -> Result<Verdict> {
    let status = Runner::embedded()?.status(&config.connect().await?).await?;
    let header = ["version", "name", "compatibility", "state"];
    let rows = status.migrations.iter().map(|migration| {
        let state = match migration.state {
            MigrationState::Applied => "applied",
            MigrationState::Pending => "pending",
            MigrationState::Unknown => "of a newer release",
            MigrationState::Edited => "EDITED",
        };
        [
            format!("V{}", migration.version),
            migration.name.clone(),
            migration.compatibility.as_str().to_owned(),
            state.to_owned(),
        ]
    });
    let sources = match status.sources {
        SourcesState::Missing => "not installed",
        SourcesState::Current => "up to date",
        SourcesState::Outdated => "outdated: run occupancy migrate",
        SourcesState::Newer => "of a newer release",
    };
    let text = format!(
        "{}\nfunctions: {sources}\nserver: PostgreSQL {}",
        output::table(header, rows),
        status.server_version
    );
    output::either(json, &status, text)?;
    Ok(Verdict::Fine)
}

async fn verify(config: &Config, json: bool) -> Result<Verdict> {
    let differences = Runner::embedded()?.verify(&mut config.connect().await?).await?;
    if differences.is_empty() && !json {
        output::line("as the last migration left it")?;
    } else {
        output::rows(json, &differences, ["kind", "object", "change"], |difference| {
            [difference.kind.clone(), difference.identity.clone(), difference.change.to_string()]
        })?;
    }
    Ok(Verdict::unsound_if(!differences.is_empty()))
}

/// Needs no server.
pub(super) fn print(json: bool) -> Result<Verdict> {
    let script = Runner::embedded()?.install_script();
    output::either(json, &json!({ "script": script }), script.trim_end())?;
    Ok(Verdict::Fine)
}
