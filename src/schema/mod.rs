//! The schema runner: installs, upgrades and examines the SQL that everything else calls.
//!
//! A schema has two parts. *Migrations* (`migrations/`) build tables and move data; each is applied
//! once and never edited again. *Sources* (`sql/`) hold the present truth of every function, view,
//! comment and grant; they are applied as a whole whenever one of them changed, or a migration ran.
//! Both happen in one transaction under one lock, so that of many migrators at once one applies and
//! the others find nothing to do, and a failure leaves nothing behind. Sources are applied in order
//! of their paths, but functions may call each other in any order: their bodies are checked last.
//!
//! ```no_run
//! # async fn example(client: &mut tokio_postgres::Client) -> occupancy::error::Result<()> {
//! let runner = occupancy::schema::Runner::embedded()?;
//! let report = runner.migrate(client).await?;
//! println!("applied {:?}", report.applied);
//! # Ok(())
//! # }
//! ```
//!
//! # Compatibility
//! The first line of a migration declares it `additive` or `breaking`. A client accepts a schema
//! with additive migrations that it does not know, so that the processes of a platform can be
//! upgraded one by one: migrate with the new release first, then replace the old processes. An old
//! release that migrates later leaves the newer functions alone.

mod apply;
mod ledger;
mod script;
mod sources;
mod verify;

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::{Client, GenericClient};

pub use self::sources::{Compatibility, Release, Sources};
pub use self::verify::{Change, Difference};

use self::ledger::{Ledger, is_edited, unknown};
use crate::error::{Error, ErrorKind, Result};

/// How often a migration gives way to the holders of a lock that it needs, before it gives up.
const ATTEMPTS: u32 = 30;

/// Installs and examines one schema.
#[derive(Clone, Debug)]
pub struct Runner {
    files: Sources,
}

impl Runner {
    /// A runner for a schema of one's own.
    #[must_use]
    pub fn new(files: Sources) -> Self {
        Self { files }
    }

    /// The runner for the schema of this crate.
    ///
    /// # Errors
    /// Those of [`Sources::embedded`].
    pub fn embedded() -> Result<Self> {
        Sources::embedded().map(Self::new)
    }

    /// Brings the schema up to date, or finds that it is.
    ///
    /// Safe to run from many processes at once. Needs a superuser, or the right to create roles
    /// and schemas, or roles made ready by somebody who has it; an error lists what is missing with
    /// the commands that provide it. When a table is in use, it gives way after a second and tries
    /// again, so that it never holds up everybody else; the connection's settings stay as they are.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if an applied migration was edited, the schema is past a breaking
    /// migration that this release does not know, a function was retired without being dropped, or
    /// the server is too old; otherwise the server's error with the file and line in its detail.
    /// Nothing was changed then.
    pub async fn migrate(&self, client: &mut Client) -> Result<MigrationReport> {
        require_supported(&server(client).await?)?;
        // Without any lock first: the usual answer is that there is nothing to do.
        let plan = Ledger::read(client).await?.plan(&self.files)?;
        if let Some(report) = apply::nothing_to_do(&plan) {
            return Ok(report);
        }
        let mut attempt = 1;
        loop {
            match apply::apply(client, &self.files).await {
                Err(error) if error.is_transient() && !client.is_closed() && attempt < ATTEMPTS => {
                    tracing::info!(attempt, %error, "the migration gives way and tries again");
                    tokio::time::sleep(pause(attempt)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Compares the files with the database, without looking at the objects themselves.
    ///
    /// # Errors
    /// Those of the server, for instance if the role may not read the schema.
    pub async fn status(&self, client: &impl GenericClient) -> Result<Status> {
        let server = server(client).await?;
        let ledger = Ledger::read(client).await?;
        Ok(Status {
            server_version: server.name,
            migrations: self.migration_statuses(&ledger),
            sources: self.sources_state(&ledger),
        })
    }

    /// Finds every object that is not as the last migration left it, sorted by kind and name.
    ///
    /// Covers definitions, grants and comments. An upgrade of PostgreSQL may spell the same
    /// definition of a view, a constraint or an index differently; the next release that is
    /// migrated to records the new spelling.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if nothing is installed, and those of the server.
    pub async fn verify(&self, client: &mut Client) -> Result<Vec<Difference>> {
        verify::verify(client).await
    }

    /// Whether this release may work with the schema, by one cheap query.
    ///
    /// A member of `occupancy_viewer` may ask.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if nothing is installed, a migration that this release knows is
    /// missing, or a breaking one that it does not know was applied; and those of the server.
    pub async fn check(&self, client: &impl GenericClient) -> Result<()> {
        let applied = Ledger::installed_migrations(client).await?;
        ledger::refuse_unknown_breaking(&applied, &self.files)?;
        ledger::refuse_missing(&applied, &self.files)
    }

    /// The same as [`migrate`](Self::migrate) as a script for psql, ledgers included.
    #[must_use]
    pub fn install_script(&self) -> String {
        script::install_script(&self.files)
    }

    fn migration_statuses(&self, ledger: &Ledger) -> Vec<MigrationStatus> {
        let known = self.files.migrations.iter().map(|migration| MigrationStatus {
            version: migration.inner.version(),
            name: migration.inner.name().to_owned(),
            compatibility: migration.compatibility,
            state: match ledger.applied(migration.inner.version()) {
                None => MigrationState::Pending,
                Some(applied) if is_edited(applied, &self.files) => MigrationState::Edited,
                Some(_) => MigrationState::Applied,
            },
        });
        let unknown = unknown(&ledger.migrations, &self.files).map(|applied| MigrationStatus {
            version: applied.version,
            name: applied.name.clone(),
            compatibility: applied.compatibility,
            state: MigrationState::Unknown,
        });
        let mut statuses: Vec<_> = known.chain(unknown).collect();
        statuses.sort_by_key(|status| status.version);
        statuses
    }

    fn sources_state(&self, ledger: &Ledger) -> SourcesState {
        if ledger.sources.is_empty() {
            SourcesState::Missing
        } else if ledger.has_sources_of(&self.files) {
            SourcesState::Current
        } else if ledger.is_newer_than(&self.files) {
            SourcesState::Newer
        } else {
            SourcesState::Outdated
        }
    }
}

/// What [`Runner::migrate`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationReport {
    /// The migrations applied, such as `V1__schema`, in order.
    pub applied: Vec<String>,
    /// What became of the sources.
    pub sources: SourcesOutcome,
}

impl MigrationReport {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_no_op(&self) -> bool {
        self.sources != SourcesOutcome::Applied
    }
}

/// What a migration did with the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourcesOutcome {
    /// All were applied.
    Applied,
    /// They were up to date.
    Current,
    /// Those in the database come from a newer release, and stay.
    KeptNewer,
}

/// How files and database compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The server's version, such as `15.18`.
    pub server_version: String,
    /// All migrations, of the files and of the database, by version.
    pub migrations: Vec<MigrationStatus>,
    /// The sources as a whole.
    pub sources: SourcesState,
}

/// One migration in a [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationStatus {
    /// The number in its file name.
    pub version: i32,
    /// The words in its file name.
    pub name: String,
    /// Whether older clients can live with it.
    pub compatibility: Compatibility,
    /// Where it stands.
    pub state: MigrationState,
}

/// Where a migration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationState {
    /// In the files and in the database.
    Applied,
    /// In the files only.
    Pending,
    /// In the database only: a newer release was here.
    Unknown,
    /// In both, but they differ.
    Edited,
}

/// Where the sources stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourcesState {
    /// Nothing is installed.
    Missing,
    /// The database has those of this release.
    Current,
    /// The database has others, and this release would replace them.
    Outdated,
    /// The database has those of a newer release.
    Newer,
}

struct Server {
    number: i32,
    name: String,
}

async fn server(client: &impl GenericClient) -> Result<Server> {
    let row = client
        .query_one(
            "select current_setting('server_version_num')::integer as number,
                    split_part(current_setting('server_version'), ' ', 1) as name",
            &[],
        )
        .await?;
    Ok(Server { number: row.try_get("number")?, name: row.try_get("name")? })
}

fn require_supported(server: &Server) -> Result<()> {
    if server.number >= script::OLDEST_SERVER {
        return Ok(());
    }
    let oldest = script::OLDEST_SERVER / 10_000;
    Err(Error::new(ErrorKind::Schema, format!("occupancy needs PostgreSQL {oldest} or newer"))
        .detail(format!("this server is PostgreSQL {}", server.name)))
}

/// Grows with the attempts and is random, so that migrators of two databases do not keep meeting.
fn pause(attempt: u32) -> Duration {
    let longest = 100 * u64::from(attempt.min(10));
    Duration::from_millis(rand::random_range(longest / 2..=longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_refused_by_name() {
        let old = Server { number: 14_00_19, name: "14.19".into() };
        let error = require_supported(&old).expect_err("too old");
        assert_eq!(error.to_string(), "occupancy needs PostgreSQL 15 or newer");
        assert_eq!(error.detail_text(), Some("this server is PostgreSQL 14.19"));
        assert!(require_supported(&Server { number: 15_00_00, name: "15.0".into() }).is_ok());
    }

    #[test]
    fn pauses_are_bounded() {
        for attempt in [1, 5, 10, ATTEMPTS, u32::MAX] {
            assert!(pause(attempt) <= Duration::from_secs(1));
        }
    }
}
