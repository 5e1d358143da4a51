//! The server that a command works on.

use crate::cli::up::default_data_dir;
use crate::cli::{Global, Verdict};
use crate::config::Config;
use crate::error::Result;
use crate::handles::Handles;
use crate::schema::Runner;
use crate::server::Embedded;

/// A configured server, or the embedded one where none is configured.
pub(super) struct Database {
    config: Config,
    /// A share in the embedded server: it runs at least as long as the command.
    embedded: Option<Embedded>,
}

impl Global {
    /// The server of `--database-url`, of `DATABASE_URL` or of the `PG*` variables, if any.
    pub(super) fn configured(&self) -> Result<Option<Config>> {
        match &self.database_url {
            Some(url) => url.parse::<Config>()?.with_env_defaults().map(Some),
            None => Config::from_env(),
        }
    }
}

impl Database {
    /// Finds the server: `--database-url`, `DATABASE_URL`, the `PG*` variables; with none of
    /// them the embedded one, which is started if it does not run, and migrated.
    async fn open(global: &Global) -> Result<Self> {
        if let Some(config) = global.configured()? {
            return Ok(Self { config, embedded: None });
        }
        let embedded = default_data_dir()?.attach_or_start().await?;
        migrate(embedded.url()).await?;
        Ok(Self { config: embedded.url().parse()?, embedded: Some(embedded) })
    }

    /// Does the work on the server, and lets the embedded one go.
    pub(super) async fn with(
        global: &Global,
        work: impl AsyncFnOnce(&Self) -> Result<Verdict>,
    ) -> Result<Verdict> {
        let database = Self::open(global).await?;
        let verdict = work(&database).await;
        if let Some(embedded) = database.embedded {
            embedded.release().await?;
        }
        verdict
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Connects; a schema that is missing or does not fit is an error that says so.
    pub(super) async fn handles(&self) -> Result<Handles> {
        Handles::connect(&self.config.clone().with_pool_size(1).without_lease()).await
    }
}

/// Brings the database of a URL up to date.
pub(super) async fn migrate(url: &str) -> Result<()> {
    let mut client = url.parse::<Config>()?.connect().await?;
    Runner::embedded()?.migrate(&mut client).await.map(drop)
}
