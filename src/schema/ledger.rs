//! What the database says was applied, and what follows from that.

use std::collections::BTreeMap;

use tokio_postgres::GenericClient;

use super::sources::{Compatibility, Migration, Release, Sources};
use crate::error::{Error, ErrorKind, Result};

/// The runner's tables, as they were read.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) migrations: Vec<Applied>,
    /// Checksums by path.
    pub(super) sources: BTreeMap<String, String>,
    /// The release that applied the sources.
    pub(super) release: Release,
}

/// A migration that was applied.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) version: i32,
    pub(super) name: String,
    pub(super) checksum: String,
    pub(super) compatibility: Compatibility,
}

impl Applied {
    fn label(&self) -> String {
        format!("V{}__{}", self.version, self.name)
    }
}

/// What a migrator has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Everything is as in the files.
    Nothing,
    /// A newer release was here: its sources stay.
    KeepNewer,
    /// Apply what is pending, and all sources.
    Apply,
}

/// Not `to_regclass`: right after the wait for another migrator, that still answers from a cache.
const IS_INSTALLED: &str = "select exists (
    select from pg_catalog.pg_tables
     where schemaname = 'occupancy' and tablename = 'schema_migration')";
const MIGRATIONS: &str = "select version, name, checksum, compatibility from occupancy.schema_migration order by version";
const SOURCES: &str = "select path, checksum, release from occupancy.schema_source";

impl Ledger {
    /// Reads the ledger; nothing installed is an empty one.
    pub(super) async fn read(client: &impl GenericClient) -> Result<Self> {
        if !is_installed(client).await? {
            return Ok(Self::default());
        }
        // In this order: sources seen as current were applied after the migrations seen before.
        let migrations = Self::migrations(client).await?;
        let mut ledger = Self { migrations, ..Self::default() };
        for row in client.query(SOURCES, &[]).await? {
            ledger.sources.insert(row.try_get("path")?, row.try_get("checksum")?);
            ledger.release = ledger.release.max(release(&row.try_get::<_, Vec<i32>>("release")?));
        }
        Ok(ledger)
    }

    /// Reads the migrations alone, with a single statement where they are installed.
    pub(super) async fn installed_migrations(client: &impl GenericClient) -> Result<Vec<Applied>> {
        match Self::migrations(client).await {
            Ok(applied) => Ok(applied),
            Err(error) => match is_installed(client).await {
                Ok(false) => Err(not_installed()),
                _ => Err(error),
            },
        }
    }

    async fn migrations(client: &impl GenericClient) -> Result<Vec<Applied>> {
        let rows = client.query_typed(MIGRATIONS, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(Applied {
                    version: row.try_get("version")?,
                    name: row.try_get("name")?,
                    checksum: row.try_get("checksum")?,
                    compatibility: Compatibility::from_ledger(row.try_get("compatibility")?),
                })
            })
            .collect()
    }

    /// What is to be done to get from here to `files`.
    pub(super) fn plan(&self, files: &Sources) -> Result<Plan> {
        self.refuse_edited(files)?;
        refuse_unknown_breaking(&self.migrations, files)?;
        let newer = self.is_newer_than(files);
        match self.pending(files).next() {
            Some(pending) if newer => {
                Err(Error::new(ErrorKind::Schema, "the histories of schema and files diverge")
                    .detail(format!(
                        "{} was never applied, though a newer release has been here",
                        pending.path()
                    ))
                    .hint("migrate with the newest release"))
            }
            None if self.has_sources_of(files) => Ok(Plan::Nothing),
            None if newer => Ok(Plan::KeepNewer),
            _ => Ok(Plan::Apply),
        }
    }

    pub(super) fn is_newer_than(&self, files: &Sources) -> bool {
        self.release > files.release || unknown(&self.migrations, files).next().is_some()
    }

    pub(super) fn has_sources_of(&self, files: &Sources) -> bool {
        let theirs = files.repeatable.iter().map(|(path, source)| (path, &source.checksum));
        self.sources.iter().eq(theirs)
    }

    pub(super) fn applied(&self, version: i32) -> Option<&Applied> {
        self.migrations.iter().find(|applied| applied.version == version)
    }

    fn pending<'f>(&self, files: &'f Sources) -> impl Iterator<Item = &'f Migration> {
        files
            .migrations
            .iter()
            .filter(|migration| self.applied(migration.inner.version()).is_none())
    }

    fn refuse_edited(&self, files: &Sources) -> Result<()> {
        let edited = self.migrations.iter().find(|applied| is_edited(applied, files));
        edited.map_or(Ok(()), |applied| {
            Err(Error::new(ErrorKind::Schema, "an applied migration was edited afterwards")
                .detail(format!("{} differs from what the database has applied", applied.label()))
                .hint("restore the file, and make the change in a new migration"))
        })
    }
}

/// Whether the file of an applied migration now has another name or content.
pub(super) fn is_edited(applied: &Applied, files: &Sources) -> bool {
    files.migration(applied.version).is_some_and(|migration| {
        migration.inner.name() != applied.name
            || migration.inner.checksum().to_string() != applied.checksum
    })
}

/// Migrations that the database has and the files do not.
pub(super) fn unknown<'l>(
    applied: &'l [Applied],
    files: &Sources,
) -> impl Iterator<Item = &'l Applied> {
    applied.iter().filter(|applied| files.migration(applied.version).is_none())
}

/// Refuses a schema that was changed in a way which these files cannot know.
pub(super) fn refuse_unknown_breaking(applied: &[Applied], files: &Sources) -> Result<()> {
    let breaking =
        unknown(applied, files).find(|applied| applied.compatibility == Compatibility::Breaking);
    breaking.map_or(Ok(()), |applied| {
        Err(Error::new(ErrorKind::Schema, "the schema is too new for this release of occupancy")
            .detail(format!("{} is a breaking migration that it does not know", applied.label()))
            .hint("upgrade occupancy"))
    })
}

/// Refuses a schema that lacks what these files count on.
pub(super) fn refuse_missing(applied: &[Applied], files: &Sources) -> Result<()> {
    let missing = files
        .migrations
        .iter()
        .find(|known| applied.iter().all(|applied| applied.version != known.inner.version()));
    missing.map_or(Ok(()), |migration| {
        Err(Error::new(ErrorKind::Schema, "the schema is too old for this release of occupancy")
            .detail(format!("{} was not applied", migration.inner))
            .hint("run `occupancy migrate`"))
    })
}

pub(super) async fn is_installed(client: &impl GenericClient) -> Result<bool> {
    Ok(client.query_typed_one(IS_INSTALLED, &[]).await?.try_get(0)?)
}

pub(super) fn not_installed() -> Error {
    Error::new(ErrorKind::Schema, "the occupancy schema is not installed in this database")
        .hint("run `occupancy migrate`")
}

fn release(numbers: &[i32]) -> Release {
    let number = |place| numbers.get(place).copied().unwrap_or_default();
    [number(0), number(1), number(2)]
}
