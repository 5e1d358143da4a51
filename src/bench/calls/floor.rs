//! The floor's functions. They answer with the columns of ours, so that an answer costs the same.

use tokio_postgres::types::Json;
use uuid::Uuid;

use super::{expect, expect_all, statements};
use crate::bench::link::Link;
use crate::bench::order::{self, GROUP, Order};
use crate::error::Result;
use crate::slots::ResourceSlots;

statements! {
    RESERVE(UUID, TEXT, TEXT, TEXT, TEXT, TEXT, UUID, TEXT, JSONB) =
        "select session_id, outcome, code, message, access_key, used, max, violations, kernels
           from floor.reserve_session($1, $2, $3, $4, $5, $6, $7, $8, $9)";

    RESERVE_WITH_QUOTAS(UUID, TEXT, TEXT, TEXT, TEXT, TEXT, UUID, TEXT, JSONB) =
        "select session_id, outcome, code, message, access_key, used, max, violations, kernels
           from floor.reserve_session_with_quotas($1, $2, $3, $4, $5, $6, $7, $8, $9)";

    RESERVE_BATCH(UUID_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT, UUID_ARRAY, TEXT_ARRAY, JSONB_ARRAY) =
        "select session_id, outcome, code, message, access_key, used, max, violations, kernels
           from floor.reserve_sessions($1, $2, $3, $4, $5, $6, $7)";

    RELEASE(UUID, TEXT, UUID, TEXT, JSONB) =
        "select session_id, outcome from floor.release_session($1, $2, $3, $4, $5)";

    RELEASE_BATCH(UUID_ARRAY, TEXT_ARRAY, UUID_ARRAY, TEXT_ARRAY, JSONB_ARRAY) =
        "select session_id, outcome from floor.release_sessions($1, $2, $3, $4, $5)";

    READ(UUID, TEXT) =
        "select session_id, outcome, code, message, access_key, used, max, violations, kernels
           from floor.read_admission($1, $2)";
}

pub(crate) async fn reserve(link: &mut Link, order: &Order) -> Result<()> {
    let statement = if order.domain.is_some() { &RESERVE_WITH_QUOTAS } else { &RESERVE };
    let Order { reservation, kernel_id, agent_id, user_id, domain } = order;
    let row = link
        .row(
            statement,
            &[
                &reservation.session_id,
                &reservation.access_key,
                user_id,
                &reservation.project,
                &GROUP,
                domain,
                kernel_id,
                agent_id,
                &Json(order::slots()),
            ],
        )
        .await?;
    expect(&row, "admitted")
}

/// Reads what could say that there is no room.
pub(crate) async fn read(link: &mut Link, order: &Order) -> Result<()> {
    let reservation = &order.reservation;
    let row = link.row(&READ, &[&reservation.session_id, &reservation.access_key]).await?;
    expect(&row, "rejected")
}

pub(crate) async fn release(link: &mut Link, order: &Order) -> Result<()> {
    let Order { reservation, kernel_id, agent_id, .. } = order;
    let slots = Json(order::slots());
    let row = link
        .row(
            &RELEASE,
            &[&reservation.session_id, &reservation.access_key, kernel_id, agent_id, &slots],
        )
        .await?;
    expect(&row, "released")
}

/// Writes those that have room.
pub(crate) async fn reserve_batch(link: &mut Link, orders: &[Order]) -> Result<()> {
    let orders: Vec<_> = orders.iter().filter(|order| !order.is_full()).collect();
    let users: Vec<&str> = orders.iter().map(|order| order.user_id.as_str()).collect();
    let Columns { sessions, keys, kernels, agents, slots } = Columns::of(&orders);
    let rows = link
        .rows(&RESERVE_BATCH, &[&sessions, &keys, &users, &GROUP, &kernels, &agents, &slots])
        .await?;
    expect_all(&rows, &orders, |_| "admitted")
}

pub(crate) async fn release_batch(link: &mut Link, orders: &[Order]) -> Result<()> {
    let orders: Vec<_> = orders.iter().collect();
    let Columns { sessions, keys, kernels, agents, slots } = Columns::of(&orders);
    let rows = link.rows(&RELEASE_BATCH, &[&sessions, &keys, &kernels, &agents, &slots]).await?;
    expect_all(&rows, &orders, |_| "released")
}

/// Orders as the arrays that a set-based statement takes.
struct Columns<'a> {
    sessions: Vec<Uuid>,
    keys: Vec<&'a str>,
    kernels: Vec<Uuid>,
    agents: Vec<&'a str>,
    slots: Vec<Json<ResourceSlots>>,
}

impl<'a> Columns<'a> {
    fn of(orders: &[&'a Order]) -> Self {
        Self {
            sessions: orders.iter().map(|order| order.reservation.session_id).collect(),
            keys: orders.iter().map(|order| order.reservation.access_key.as_str()).collect(),
            kernels: orders.iter().map(|order| order.kernel_id).collect(),
            agents: orders.iter().map(|order| order.agent_id.as_str()).collect(),
            slots: orders.iter().map(|_| Json(order::slots())).collect(),
        }
    }
}
