//! One call of one database function: where it runs and what is recorded about it.

use std::time::Instant;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row};
use tracing::{Instrument, Span, field, info_span};

use crate::error::{Error, ErrorKind, Result};

pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The text of a call and the types of its parameters.
///
/// The types are stated so that the driver needs no round trip to ask for them, and no named
/// statement, which a pooler in transaction mode would lose.
#[derive(Debug)]
pub struct Statement {
    /// The database function or view.
    pub name: &'static str,
    /// A `SELECT` that names its arguments and every column that it reads, so that it survives
    /// arguments and columns to come.
    pub sql: &'static str,
    /// The types of `$1`, `$2`, ….
    pub types: &'static [Type],
    /// After which answers somebody who waits for room had better look again.
    pub wakes: Wakes,
}

/// After which answers of a call there may be room that was not there before.
#[derive(Debug)]
pub enum Wakes {
    /// After none.
    Never,
    /// After any that has a row.
    AnyRow,
    /// If this column of some row has one of these words.
    When(&'static str, &'static [&'static str]),
}

impl Wakes {
    /// Whether this answer is one of them.
    pub(crate) fn after(&self, rows: &[Row]) -> bool {
        let has = |row: &Row, column, words: &[&str]| {
            row.try_get::<_, Option<&str>>(column)
                .is_ok_and(|word| word.is_some_and(|w| words.contains(&w)))
        };
        match self {
            Self::Never => false,
            Self::AnyRow => !rows.is_empty(),
            Self::When(column, words) => rows.iter().any(|row| has(row, *column, words)),
        }
    }
}

impl Statement {
    pub(crate) async fn run<C>(&self, client: &C, params: Params<'_>) -> Result<Vec<Row>>
    where
        C: GenericClient + Sync,
    {
        let typed: Vec<_> =
            params.iter().zip(self.types).map(|(param, ty)| (*param, ty.clone())).collect();
        Ok(client.query_typed(self.sql, &typed).await?)
    }
}

/// Where calls run: [`Pooled`](crate::Pooled), the default, or [`Within`] a transaction.
pub trait Executor: sealed::Executor {}

impl<E: sealed::Executor> Executor for E {}

/// Runs calls on the caller's own connection, usually inside a transaction, each exactly once:
/// what a retry would need, the caller alone can do.
#[derive(Debug)]
pub struct Within<'a, C>(pub(crate) &'a C);

// Not derived: that would ask for `C: Clone`, which no transaction is.
impl<C> Clone for Within<'_, C> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

pub(crate) mod sealed {
    use super::{Params, Result, Row, Statement};

    pub trait Executor: Sync {
        fn rows(
            &self,
            statement: &'static Statement,
            params: Params<'_>,
        ) -> impl Future<Output = Result<Vec<Row>>> + Send;
    }
}

impl<C: GenericClient + Sync> sealed::Executor for Within<'_, C> {
    async fn rows(&self, statement: &'static Statement, params: Params<'_>) -> Result<Vec<Row>> {
        Span::current().record("attempts", 1);
        statement.run(self.0, params).await
    }
}

/// A type that a row of a result is read into, column by column.
pub(crate) trait FromRow: Sized {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

impl FromRow for i64 {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        row.try_get(0)
    }
}

/// Every row of the answer.
pub(crate) async fn all<T: FromRow>(
    executor: &impl Executor,
    statement: &'static Statement,
    params: Params<'_>,
) -> Result<Vec<T>> {
    let rows = traced(executor, statement, params).await?;
    Ok(rows.iter().map(T::from_row).collect::<Result<_, _>>()?)
}

/// The first row of the answer, if there is one.
pub(crate) async fn first<T: FromRow>(
    executor: &impl Executor,
    statement: &'static Statement,
    params: Params<'_>,
) -> Result<Option<T>> {
    let rows = traced(executor, statement, params).await?;
    Ok(rows.first().map(T::from_row).transpose()?)
}

/// The one row of the answer.
pub(crate) async fn one<T: FromRow>(
    executor: &impl Executor,
    statement: &'static Statement,
    params: Params<'_>,
) -> Result<T> {
    first(executor, statement, params).await?.ok_or_else(|| {
        Error::new(ErrorKind::Database, format!("{} answered with no row", statement.name))
            .hint("compare the installed schema with this library: occupancy schema status")
    })
}

/// Runs the call in a span that tells function, outcome, code, attempts and duration, but no
/// argument: neither names nor slots belong in a log.
async fn traced(
    executor: &impl Executor,
    statement: &'static Statement,
    params: Params<'_>,
) -> Result<Vec<Row>> {
    let span = info_span!(
        "occupancy",
        function = statement.name,
        outcome = field::Empty,
        code = field::Empty,
        rows = field::Empty,
        attempts = field::Empty,
        duration_ms = field::Empty,
    );
    async {
        let started = Instant::now();
        let result = executor.rows(statement, params).await;
        let span = Span::current();
        span.record("duration_ms", started.elapsed().as_secs_f64() * 1000.0);
        record(&span, &result);
        result
    }
    .instrument(span)
    .await
}

/// A single row shows its outcome, several rows their number, an error its code.
fn record(span: &Span, result: &Result<Vec<Row>>) {
    match result.as_deref() {
        Ok([row]) => {
            for column in ["outcome", "code"] {
                if let Ok(Some(word)) = row.try_get::<_, Option<&str>>(column) {
                    span.record(column, word);
                }
            }
        }
        Ok(rows) => {
            span.record("rows", rows.len());
        }
        Err(error) => {
            span.record("outcome", "error");
            span.record("code", error.sqlstate());
        }
    }
}
