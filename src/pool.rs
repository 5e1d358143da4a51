//! The connections that a process shares.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, Object, RecycleError, RecycleResult, TimeoutType};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Row};

use crate::call::{Params, Statement, sealed};
use crate::config::Config;
use crate::connect;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::RetryPolicy;
use crate::schema::Runner;

/// Runs each call on a connection of the pool, in a transaction of its own, and repeats it
/// after a transient error. Every function is idempotent by its ids, so that repeating a call
/// whose answer was lost changes nothing twice.
#[derive(Clone)]
pub struct Pooled {
    pool: managed::Pool<Connections>,
    retry: RetryPolicy,
    prepared_statements: bool,
    schema: Arc<Runner>,
    /// Marked as changed by each call that may have made room.
    freed: watch::Sender<()>,
}

impl Pooled {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let pool = managed::Pool::builder(Connections(config.clone()))
            .runtime(Runtime::Tokio1)
            .max_size(config.pool_size)
            .wait_timeout(Some(config.wait_timeout))
            .create_timeout(Some(config.create_timeout()))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Config, "cannot build the pool").caused_by(error)
            })?;
        let Config { retry, prepared_statements, .. } = *config;
        let (schema, freed) = (Arc::new(Runner::embedded()?), watch::Sender::new(()));
        Ok(Self { pool, retry, prepared_statements, schema, freed })
    }

    /// The same connections, without repetition.
    pub(crate) fn once(self) -> Self {
        Self { retry: RetryPolicy::never(), ..self }
    }

    /// Hears of calls that may have made room: of any number of them once. It ends with the pool.
    pub(crate) fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    /// Gets a connection, insisting only while a server answers that it will be there soon.
    pub(crate) async fn prove(&self) -> Result<()> {
        self.retry
            .run_while(
                |error| error.is_transient() && error.sqlstate().is_some(),
                || async { self.connection().await.map(drop) },
            )
            .await
    }

    /// A connection of the pool. A new one is given out only if its schema fits this library:
    /// an upgrade may have happened since the process started.
    async fn connection(&self) -> Result<Object<Connections>> {
        let connection = self.pool.get().await.map_err(unavailable)?;
        if Object::metrics(&connection).recycle_count == 0
            && let Err(error) = self.schema.check(&connection.client).await
        {
            drop(Object::take(connection));
            return Err(error);
        }
        Ok(connection)
    }

    async fn attempt(&self, statement: &'static Statement, params: Params<'_>) -> Result<Vec<Row>> {
        let mut connection = self.connection().await?;
        let result = if self.prepared_statements {
            connection.run_prepared(statement, params).await
        } else {
            statement.run(&connection.client, params).await
        };
        if result.as_ref().is_err_and(Error::is_transient) {
            // It may lead to a server that is going away or has become a standby: the next
            // attempt had better look for a host anew.
            drop(Object::take(connection));
        }
        result
    }
}

impl sealed::Executor for Pooled {
    async fn rows(&self, statement: &'static Statement, params: Params<'_>) -> Result<Vec<Row>> {
        let rows =
            self.retry.run_while(Error::is_transient, || self.attempt(statement, params)).await?;
        if statement.wakes.after(&rows) {
            self.freed.send_replace(());
        }
        Ok(rows)
    }
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled")
            .field("pool", &self.pool.status())
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// How the pool comes by its connections.
struct Connections(Config);

/// A connection of the pool. It is cut at once when it is dropped, whatever it waits for.
struct Connection {
    client: Client,
    carrier: JoinHandle<()>,
    /// What it keeps prepared, by name.
    prepared: HashMap<&'static str, tokio_postgres::Statement>,
}

impl Connection {
    /// Runs a statement that this connection prepares once and then keeps.
    async fn run_prepared(
        &mut self,
        statement: &'static Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let run = async {
            if !self.prepared.contains_key(statement.name) {
                let prepared = self.client.prepare_typed(statement.sql, statement.types).await?;
                self.prepared.insert(statement.name, prepared);
            }
            self.client.query(&self.prepared[statement.name], params).await
        };
        run.await.map_err(|error| match Error::from(error) {
            lost if lost.is_about_prepared_statements() => {
                lost.hint("a pooler in transaction mode asks for with_prepared_statements(false)")
            }
            other => other,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl managed::Manager for Connections {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection> {
        let (client, carrier) = connect::open(&self.0).await?;
        Ok(Connection { client, carrier, prepared: HashMap::new() })
    }

    /// Looking at the socket is enough: a connection that died unseen costs one retry, asking the
    /// server before each call would cost every call a round trip.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Error> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

fn unavailable(error: managed::PoolError<Error>) -> Error {
    use managed::PoolError;

    match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(TimeoutType::Wait) => {
            Error::new(ErrorKind::Exhausted, "no connection of the pool became free in time")
                .hint("raise the pool size, or the time to wait for a connection")
        }
        PoolError::Timeout(_) => {
            Error::new(ErrorKind::Connection, "the server did not take the connection in time")
        }
        other => Error::new(ErrorKind::Connection, "no connection").caused_by(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_prints_no_password() {
        let config: Config = "postgresql://me:hunter2@db/platform".parse().expect("valid");
        let text = format!("{:?}", Pooled::new(&config).expect("built"));
        assert!(text.contains("Pooled") && !text.contains("hunter2"), "{text}");
    }
}
