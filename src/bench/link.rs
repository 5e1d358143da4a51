//! One connection, in either protocol.

use std::collections::HashMap;

use tokio_postgres::{Client, Row};

use crate::bench::Protocol;
use crate::call::{Params, Statement};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// A call is repeated no more often than this.
const ATTEMPTS: u32 = 1000;

/// A connection, and how often it had to repeat a call.
pub(super) struct Link {
    client: Client,
    protocol: Protocol,
    prepared: HashMap<&'static str, tokio_postgres::Statement>,
    /// Deadlocks and other passing errors.
    pub(super) errors: u64,
}

impl Link {
    pub(super) async fn connect(config: &Config, protocol: Protocol) -> Result<Self> {
        let client = config.connect().await?;
        Ok(Self { client, protocol, prepared: HashMap::new(), errors: 0 })
    }

    /// Runs a statement, again if it has to give way to another transaction.
    pub(super) async fn rows(
        &mut self,
        statement: &'static Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let mut attempts = 1;
        loop {
            match self.attempt(statement, params).await {
                Err(error) if self.may_repeat(&error) && attempts < ATTEMPTS => {
                    attempts += 1;
                    self.errors += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// The one row of a statement's answer.
    pub(super) async fn row(
        &mut self,
        statement: &'static Statement,
        params: Params<'_>,
    ) -> Result<Row> {
        let mut rows = self.rows(statement, params).await?;
        match (rows.pop(), rows.pop()) {
            (Some(row), None) => Ok(row),
            _ => Err(Error::new(
                ErrorKind::Database,
                format!("{} did not answer with one row", statement.name),
            )),
        }
    }

    /// Begins or ends a transaction.
    pub(super) async fn control(&self, sql: &'static str) -> Result<()> {
        Ok(self.client.batch_execute(sql).await?)
    }

    async fn attempt(
        &mut self,
        statement: &'static Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        if self.protocol == Protocol::Unnamed {
            return statement.run(&self.client, params).await;
        }
        if !self.prepared.contains_key(statement.name) {
            let prepared = self.client.prepare_typed(statement.sql, statement.types).await?;
            self.prepared.insert(statement.name, prepared);
        }
        Ok(self.client.query(&self.prepared[statement.name], params).await?)
    }

    fn may_repeat(&self, error: &Error) -> bool {
        error.is_transient() && error.sqlstate().is_some() && !self.client.is_closed()
    }
}
