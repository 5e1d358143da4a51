//! The words in which a team asks, and what it has to be answered.

pub(super) mod floor;
pub(super) mod functions;
pub(super) mod queue;
pub(super) mod transaction;

use tokio_postgres::Row;

use crate::error::{Error, ErrorKind, Result};

/// Declares statements with the types of their parameters.
macro_rules! statements {
    ($($name:ident($($ty:ident),*) = $sql:literal;)+) => {$(
        static $name: crate::call::Statement = crate::call::Statement {
            name: stringify!($name),
            sql: $sql,
            types: &[$(tokio_postgres::types::Type::$ty),*],
            wakes: crate::call::Wakes::Never,
        };
    )+};
}
use statements;

/// An answer that is not the expected one makes the whole run worthless.
fn expect(row: &Row, expected: &str) -> Result<()> {
    let outcome: &str = row.try_get("outcome")?;
    if outcome == expected {
        return Ok(());
    }
    let code: Option<&str> = row.try_get("code").ok().flatten();
    Err(unexpected(outcome, expected, code))
}

fn expect_all<T>(rows: &[Row], orders: &[T], expected: impl Fn(&T) -> &'static str) -> Result<()> {
    if rows.len() != orders.len() {
        return Err(Error::new(ErrorKind::Database, "a batch was not answered element by element")
            .detail(format!("{} answers to {} elements", rows.len(), orders.len())));
    }
    rows.iter().zip(orders).try_for_each(|(row, order)| expect(row, expected(order)))
}

fn unexpected(outcome: &str, expected: &str, code: Option<&str>) -> Error {
    let error =
        Error::new(ErrorKind::Database, format!("a session was {outcome} instead of {expected}"))
            .hint("such a run gives no figure");
    match code {
        Some(code) => error.detail(code),
        None => error,
    }
}
