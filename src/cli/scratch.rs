//! A database for the duration of a command.

use std::thread;

use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// A new database on a server. Dropped with this value, also when the command is interrupted.
pub(super) struct Scratch {
    /// The server, with the database through which it was reached.
    server: Config,
    config: Config,
    name: String,
    /// Until it is removed, or left to the user.
    is_ours: bool,
}

impl Scratch {
    pub(super) async fn create(server: &Config, prefix: &str) -> Result<Self> {
        let name = format!("{prefix}_{:08x}", rand::random::<u32>());
        let client = server.connect().await?;
        let create = format!("create database {name}");
        // Not to be interrupted: the server would go on, and there would be nobody to remove it.
        let created = block_in_place(|| Handle::current().block_on(client.batch_execute(&create)));
        created.map_err(|error| {
            let error = Error::from(error);
            Error::new(ErrorKind::Database, "cannot create a database for the run")
                .detail(error.to_string())
                .hint("connect as a role that may create databases")
                .caused_by(error)
        })?;
        let config = server.clone().with_database(&name);
        Ok(Self { server: server.clone(), config, name, is_ours: true })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Leaves it on the server.
    pub(super) fn keep(mut self) {
        self.is_ours = false;
    }

    pub(super) async fn remove(mut self) -> Result<()> {
        remove(&self.server, &self.name).await?;
        self.is_ours = false;
        Ok(())
    }
}

async fn remove(server: &Config, name: &str) -> Result<()> {
    let client = server.connect().await?;
    client.batch_execute(&format!("drop database if exists {name} with (force)")).await?;
    Ok(())
}

impl Drop for Scratch {
    /// The command's runtime cannot wait here, so that another one does.
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        let removed = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .map_err(|e| e.to_string())?
                .block_on(remove(&server, &name))
                .map_err(|e| e.to_string())
        })
        .join();
        if !matches!(removed, Ok(Ok(()))) {
            tracing::warn!(database = self.name, "the database for the run could not be removed");
        }
    }
}
