//! The one transaction that changes a schema.

use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use refinery_core::{AsyncMigrate, Migration, Target};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::ledger::{Ledger, Plan};
use super::script::{
    LEDGER, LEFTOVERS, LOCK, PREPARE, SETTINGS, VALIDATE, record_objects, record_sources,
};
use super::sources::{ROLES, Sources};
use super::{MigrationReport, SourcesOutcome};
use crate::error::{Error, ErrorKind, Result};

/// One attempt: everything or nothing.
pub(super) async fn apply(client: &mut Client, files: &Sources) -> Result<MigrationReport> {
    let transaction = client
        .build_transaction()
        // Each statement must see what the migrator before us committed.
        .isolation_level(IsolationLevel::ReadCommitted)
        .read_only(false)
        .start()
        .await?;
    transaction.batch_execute(SETTINGS).await?;
    lock(&transaction).await?;

    let ledger = Ledger::read(&transaction).await?;
    if let Some(report) = nothing_to_do(&ledger.plan(files)?) {
        return Ok(report);
    }
    run(&transaction, ROLES, files.roles()).await?;
    transaction.batch_execute(LEDGER).await?;
    let applied = apply_migrations(&transaction, files).await?;
    transaction.batch_execute(PREPARE).await?;
    for (path, sql) in files.after_migrations() {
        run(&transaction, path, sql).await?;
    }
    refuse_leftovers(&transaction).await?;
    transaction.batch_execute(VALIDATE).await?;
    transaction.batch_execute(&record_sources(files)).await?;
    transaction.batch_execute(&record_objects()).await?;
    transaction.commit().await?;
    Ok(MigrationReport { applied, sources: SourcesOutcome::Applied })
}

/// The report of a migrator that has nothing to do.
pub(super) fn nothing_to_do(plan: &Plan) -> Option<MigrationReport> {
    let sources = match plan {
        Plan::Nothing => SourcesOutcome::Current,
        Plan::KeepNewer => SourcesOutcome::KeptNewer,
        Plan::Apply => return None,
    };
    Some(MigrationReport { applied: Vec::new(), sources })
}

/// Waits for other migrators. A wait that took too long is final and not tried again.
async fn lock(transaction: &Transaction<'_>) -> Result<()> {
    transaction.batch_execute(LOCK).await.map_err(Error::from).map_err(|error| {
        if error.sqlstate().is_some() && error.is_transient() {
            Error::new(ErrorKind::Schema, "another migration holds the lock for too long")
                .detail("it runs in another connection to this database")
                .hint("find it in pg_locks, where locktype is `advisory`")
                .caused_by(error)
        } else {
            error
        }
    })
}

/// Runs one file; an error names it, with the line where the server knows it.
async fn run(transaction: &Transaction<'_>, path: &str, sql: &str) -> Result<()> {
    transaction.batch_execute(sql).await.map_err(|error| placed(error, path, sql))
}

fn placed(error: tokio_postgres::Error, path: &str, sql: &str) -> Error {
    let position = error.as_db_error().and_then(|db| db.position());
    let place = match position {
        Some(ErrorPosition::Original(position)) => {
            let before = sql.chars().take(*position as usize);
            format!("{path}:{}", 1 + before.filter(|character| *character == '\n').count())
        }
        _ => path.to_owned(),
    };
    let error = Error::from(error);
    let detail = match error.detail_text() {
        Some(detail) => format!("{detail} (in {place})"),
        None => format!("in {place}"),
    };
    error.detail(detail)
}

async fn refuse_leftovers(transaction: &Transaction<'_>) -> Result<()> {
    let rows = transaction.query(LEFTOVERS, &[]).await?;
    let leftovers = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    if leftovers.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Schema, "the schema holds what the sources no longer define")
        .detail(leftovers.join(", "))
        .hint("drop what was retired in a migration, and what was made by hand by hand"))
}

async fn apply_migrations(transaction: &Transaction<'_>, files: &Sources) -> Result<Vec<String>> {
    let migrations: Vec<_> = files.migrations.iter().map(|each| each.inner.clone()).collect();
    let mut migrator = Migrator { transaction, files, failure: None };
    let outcome = AsyncMigrate::migrate(
        &mut migrator,
        &migrations,
        true,
        true,
        false,
        Target::Latest,
        "occupancy.schema_migration",
    )
    .await;
    let report = match (outcome, migrator.failure) {
        (_, Some(failure)) => return Err(failure),
        (Err(error), None) => {
            return Err(Error::new(ErrorKind::Schema, error.to_string()).caused_by(error));
        }
        (Ok(report), None) => report,
    };
    let mut applied = Vec::new();
    for migration in report.applied_migrations() {
        if let Some(known) = files.migration(migration.version()) {
            transaction
                .execute(
                    "update occupancy.schema_migration set compatibility = $2 where version = $1",
                    &[&migration.version(), &known.compatibility.as_str()],
                )
                .await?;
        }
        applied.push(migration.to_string());
    }
    Ok(applied)
}

/// Lets refinery work inside our transaction: its own drivers commit each file by itself.
struct Migrator<'t> {
    transaction: &'t Transaction<'t>,
    files: &'t Sources,
    /// refinery lends its errors out but never gives them back, and the caller needs the SQLSTATE.
    failure: Option<Error>,
}

/// Stands in for the error in [`Migrator::failure`].
#[derive(Debug, thiserror::Error)]
#[error("the migration failed")]
struct Failed;

impl Migrator<'_> {
    fn fail(&mut self, failure: Error) -> Failed {
        self.failure = Some(failure);
        Failed
    }

    async fn applied(&self, query: &str) -> Result<Vec<Migration>> {
        let rows = self.transaction.query(query, &[]).await?;
        rows.iter()
            .map(|row| {
                let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
                    Error::new(ErrorKind::Schema, "the ledger of migrations is unreadable")
                        .detail("table occupancy.schema_migration")
                        .caused_by(error)
                };
                let applied_on = OffsetDateTime::parse(row.try_get("applied_on")?, &Rfc3339)
                    .map_err(|error| unreadable(error.into()))?;
                let checksum = row
                    .try_get::<_, &str>("checksum")?
                    .parse()
                    .map_err(|error: std::num::ParseIntError| unreadable(error.into()))?;
                let (version, name) = (row.try_get("version")?, row.try_get("name")?);
                Ok(Migration::applied(version, name, applied_on, checksum))
            })
            .collect()
    }
}

impl AsyncTransaction for Migrator<'_> {
    type Error = Failed;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, Failed> {
        let mut count = 0;
        for query in queries {
            if let Err(error) = self.transaction.batch_execute(query).await {
                let file = self.files.migrations.iter().find(|each| each.sql() == query);
                let failure = match file {
                    Some(file) => placed(error, &file.path(), query),
                    None => error.into(),
                };
                return Err(self.fail(failure));
            }
            count += 1;
        }
        Ok(count)
    }
}

impl AsyncQuery<Vec<Migration>> for Migrator<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, Failed> {
        match self.applied(query).await {
            Ok(migrations) => Ok(migrations),
            Err(error) => Err(self.fail(error)),
        }
    }
}

impl AsyncMigrate for Migrator<'_> {}
