//! Our functions, in the words of the client.

use tokio_postgres::types::Json;
use uuid::Uuid;

use super::{expect, expect_all, statements};
use crate::bench::Protocol;
use crate::bench::link::Link;
use crate::bench::order::{Choice, Order, Orders};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Reservation;
use crate::statements as sql;

statements! {
    // Left out is the lock of a table that is read, which nobody who reserves or releases ever waits
    // for. A locked row shows as RowShareLock of its table.
    LOCKS() =
        "select string_agg(l.locktype || ' ' || l.mode, ', ') as locks
           from pg_locks l
          where l.pid = pg_backend_pid()
            and l.locktype <> 'virtualxid' and l.mode <> 'AccessShareLock'";
}

/// No holder: what is measured is the reservation, not its lease.
const NOBODY: (Option<&str>, Option<i64>) = (None, None);

pub(crate) async fn reserve(link: &mut Link, order: &Order) -> Result<()> {
    ask(link, order, "admitted").await
}

/// Asks for what cannot be had.
pub(crate) async fn reject(link: &mut Link, order: &Order) -> Result<()> {
    ask(link, order, "rejected").await
}

async fn ask(link: &mut Link, order: &Order, outcome: &str) -> Result<()> {
    let Reservation { session_id, access_key, kernels, session_type, project } = &order.reservation;
    let kernels = Json(kernels);
    let row = link
        .row(
            &sql::reserve_session,
            &[
                session_id,
                access_key,
                &kernels,
                &session_type.as_str(),
                project,
                &NOBODY.0,
                &NOBODY.1,
            ],
        )
        .await?;
    expect(&row, outcome)
}

pub(crate) async fn release(link: &mut Link, order: &Order) -> Result<()> {
    let row = link
        .row(&sql::release_session, &[&order.reservation.session_id, &NOBODY.0, &NOBODY.1])
        .await?;
    expect(&row, "released")
}

pub(crate) async fn reserve_batch(link: &mut Link, orders: &[Order]) -> Result<()> {
    let sessions: Vec<_> = orders.iter().map(|order| &order.reservation).collect();
    let rows = link.rows(&sql::reserve_sessions, &[&Json(sessions)]).await?;
    expect_all(&rows, orders, |order| if order.is_full() { "rejected" } else { "admitted" })
}

pub(crate) async fn release_batch(link: &mut Link, orders: &[Order]) -> Result<()> {
    let ids: Vec<Uuid> = orders.iter().map(|order| order.reservation.session_id).collect();
    let rows = link.rows(&sql::release_sessions, &[&ids, &NOBODY.0, &NOBODY.1]).await?;
    expect_all(&rows, orders, |_| "released")
}

/// Asks for what cannot be had, and looks at what the call holds before its transaction ends.
pub(crate) async fn prove_that_a_rejection_locks_nothing(config: &Config) -> Result<()> {
    let mut link = Link::connect(config, Protocol::Unnamed).await?;
    let mut orders = Orders::new(Choice { first_key: 1, keys: 1, agents: 1, quotas: false }, 0);
    link.control("begin").await?;
    reject(&mut link, &orders.draw_full()).await?;
    let row = link.row(&LOCKS, &[]).await?;
    link.control("rollback").await?;
    let locks: Option<String> = row.try_get("locks")?;
    match locks {
        None => Ok(()),
        Some(locks) => Err(Error::new(
            ErrorKind::Database,
            "a rejection holds a lock until its transaction ends",
        )
        .detail(locks)),
    }
}
