//! Where something was measured.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::Databases;
use crate::error::Result;

/// Settings that figures depend on.
const SETTINGS: [&str; 14] = [
    "autovacuum",
    "checkpoint_timeout",
    "commit_delay",
    "fsync",
    "full_page_writes",
    "jit",
    "max_connections",
    "max_wal_size",
    "shared_buffers",
    "synchronous_commit",
    "synchronous_standby_names",
    "wal_compression",
    "wal_level",
    "wal_sync_method",
];

/// The server, and what it was set to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Conditions {
    /// As the server tells it, with the platform that it was built for.
    pub(crate) version: String,
    /// Whether a commit waits for the disk.
    pub(crate) durable: bool,
    pub(crate) settings: BTreeMap<String, String>,
    /// Processors that this program may use, which shares them with a server on the same machine.
    pub(crate) client_cpus: Option<usize>,
}

impl Conditions {
    /// Asks the server.
    pub(crate) async fn of(databases: &Databases) -> Result<Self> {
        let client = databases.server().connect().await?;
        let version = client.query_one("select version()", &[]).await?.try_get(0)?;
        let rows = client
            .query(
                "select name, current_setting(name) from pg_settings where name = any ($1)",
                &[&SETTINGS.as_slice()],
            )
            .await?;
        let settings: BTreeMap<String, String> =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_>>()?;
        let is = |name: &str, value: &str| settings.get(name).is_some_and(|set| set == value);
        Ok(Self {
            version,
            durable: is("fsync", "on") && !is("synchronous_commit", "off"),
            client_cpus: std::thread::available_parallelism().ok().map(usize::from),
            settings,
        })
    }
}
