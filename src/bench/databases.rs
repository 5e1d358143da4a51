//! Databases of the run's own.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use include_dir::{Dir, include_dir};
use tokio_postgres::Client;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::retry::RetryPolicy;
use crate::schema::Runner;

static FLOOR: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/benches/floor");
static FILL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/benches/fill");

/// A template with everything installed and copies of it, on a server that may hold others.
#[derive(Debug)]
pub(crate) struct Databases {
    server: Config,
    /// The template's name, and the beginning of its copies' names.
    name: String,
    /// Whether there may be any.
    made: AtomicBool,
    copies: AtomicU32,
}

impl Databases {
    /// Databases on this server, none of them made yet.
    pub(crate) fn new(server: Config) -> Self {
        let name = format!("occupancy_bench_{:08x}", rand::random::<u32>());
        Self { server, name, made: AtomicBool::new(false), copies: AtomicU32::new(0) }
    }

    /// The server, and on it the database that we are connected to meanwhile.
    pub(super) fn server(&self) -> &Config {
        &self.server
    }

    /// How the names of all its databases begin.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the template: the schema, the floor's functions and those that fill it.
    pub(super) async fn prepare(&self) -> Result<()> {
        let client = self.server.connect().await?;
        self.made.store(true, Ordering::Relaxed);
        client.batch_execute(&format!("create database {}", self.name)).await?;
        let mut client = self.server.clone().with_database(&self.name).connect().await?;
        Runner::embedded()?.migrate(&mut client).await?;
        // The floor's functions belong to whom ours belong to, so that a call of either costs the
        // same.
        client
            .batch_execute(
                "create schema floor authorization occupancy_owner;
                 create schema fill;
                 set role occupancy_owner",
            )
            .await?;
        install(&client, &FLOOR).await?;
        client.batch_execute("reset role").await?;
        install(&client, &FILL).await
    }

    /// A fresh copy of the template.
    pub(super) async fn create(&self) -> Result<Config> {
        let name = format!("{}_{}", self.name, self.copies.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("create database {name} template {}", self.name)).await?;
        Ok(self.server.clone().with_database(&name))
    }

    /// Drops every copy, whoever is connected.
    pub(super) async fn drop_copies(&self) -> Result<()> {
        self.drop_all_named(&format!("{}_", self.name)).await
    }

    /// Drops everything that was made. A server that is just coming back is waited for.
    pub(crate) async fn drop_all(&self) -> Result<()> {
        if !self.made.load(Ordering::Relaxed) {
            return Ok(());
        }
        let patience = RetryPolicy { give_up_after: Duration::from_secs(10), ..Default::default() };
        let dropped =
            patience.run_while(Error::is_transient, || self.drop_all_named(&self.name)).await;
        dropped.map_err(|error| {
            error.hint(format!("drop the databases whose names begin with {}", self.name))
        })
    }

    async fn drop_all_named(&self, prefix: &str) -> Result<()> {
        let client = self.server.connect().await?;
        let databases = client
            .query(
                "select datname::text from pg_database where starts_with(datname, $1)",
                &[&prefix],
            )
            .await?;
        for database in databases {
            let name: &str = database.try_get(0)?;
            client.batch_execute(&format!("drop database if exists {name} with (force)")).await?;
        }
        Ok(())
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        Ok(self.server.connect().await?.batch_execute(sql).await?)
    }
}

async fn install(client: &Client, files: &Dir<'_>) -> Result<()> {
    for file in files.files() {
        client.batch_execute(file.contents_utf8().unwrap_or_default()).await?;
    }
    Ok(())
}
