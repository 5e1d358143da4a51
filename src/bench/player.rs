//! Clients that do the same again and again, and what they achieve in a slice of time.

use std::mem;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::{JoinError, JoinSet};

use crate::bench::calls::{floor, functions, transaction};
use crate::bench::link::Link;
use crate::bench::order::{Order, Orders};
use crate::bench::scenario::{Action, Way};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Admission;
use crate::tracker::ConcurrencyTracker;

/// What was done at once, and the time of the calls alone: neither making up what to ask for nor
/// clearing up afterwards counts.
pub(super) struct Turn {
    operations: u64,
    took: Duration,
}

/// One client of a team.
pub(super) trait Player: Send + 'static {
    /// Does it once.
    fn turn(&mut self) -> impl Future<Output = Result<Turn>> + Send;

    /// How many passing errors it has met so far.
    fn errors(&self) -> u64 {
        0
    }
}

/// Times `operations` that are done at once.
async fn timed(operations: u64, work: impl Future<Output = Result<()>>) -> Result<Turn> {
    let started = Instant::now();
    work.await?;
    Ok(Turn { operations, took: started.elapsed() })
}

/// A client with a connection of its own.
pub(super) struct Direct {
    pub(super) link: Link,
    pub(super) orders: Orders,
    pub(super) action: Action,
    pub(super) way: Way,
    /// Sessions in a batch.
    pub(super) batch: usize,
}

impl Player for Direct {
    async fn turn(&mut self) -> Result<Turn> {
        match self.action {
            Action::Reserve => self.reserve(false).await,
            Action::ReserveAside => self.reserve(true).await,
            Action::Pair => self.pair().await,
            Action::Reject => self.reject().await,
            Action::ReserveBatch { nth_full } => self.reserve_batch(nth_full).await,
            Action::ReleaseBatch => self.release_batch().await,
        }
    }

    fn errors(&self) -> u64 {
        self.link.errors
    }
}

impl Direct {
    async fn reserve(&mut self, release: bool) -> Result<Turn> {
        let (link, order) = (&mut self.link, self.orders.draw());
        let turn = match self.way {
            Way::Floor => timed(1, floor::reserve(link, &order)).await?,
            Way::Functions => timed(1, functions::reserve(link, &order)).await?,
            Way::Transaction => timed(1, transaction::reserve(link, &order)).await?,
        };
        if release {
            functions::release(link, &order).await?;
        }
        Ok(turn)
    }

    async fn pair(&mut self) -> Result<Turn> {
        let (link, order) = (&mut self.link, self.orders.draw());
        let floor = self.way == Way::Floor;
        timed(1, async {
            if floor {
                floor::reserve(link, &order).await?;
                floor::release(link, &order).await
            } else {
                functions::reserve(link, &order).await?;
                functions::release(link, &order).await
            }
        })
        .await
    }

    async fn reject(&mut self) -> Result<Turn> {
        let (link, order) = (&mut self.link, self.orders.draw_full());
        match self.way {
            Way::Floor => timed(1, floor::read(link, &order)).await,
            _ => timed(1, functions::reject(link, &order)).await,
        }
    }

    async fn reserve_batch(&mut self, nth_full: Option<usize>) -> Result<Turn> {
        let (link, orders) = (&mut self.link, self.orders.draw_batch(self.batch, nth_full));
        let operations = orders.len() as u64;
        match self.way {
            Way::Floor => timed(operations, floor::reserve_batch(link, &orders)).await,
            _ => timed(operations, functions::reserve_batch(link, &orders)).await,
        }
    }

    async fn release_batch(&mut self) -> Result<Turn> {
        let (link, orders) = (&mut self.link, self.orders.draw_batch(self.batch, None));
        let operations = orders.len() as u64;
        // Both in the same way: ours and the floor's do not keep to one lock order.
        if self.way == Way::Floor {
            floor::reserve_batch(link, &orders).await?;
            return timed(operations, floor::release_batch(link, &orders)).await;
        }
        functions::reserve_batch(link, &orders).await?;
        timed(operations, functions::release_batch(link, &orders)).await
    }
}

/// A task that shares a pool of this library with the others, as a platform's would.
pub(super) struct Pooled {
    pub(super) tracker: ConcurrencyTracker,
    pub(super) orders: Orders,
    pub(super) action: Action,
    /// Sessions in a batch.
    pub(super) batch: usize,
}

impl Player for Pooled {
    async fn turn(&mut self) -> Result<Turn> {
        match self.action {
            Action::Pair => {
                let order = self.orders.draw();
                let pair = async {
                    self.reserve(&order).await?;
                    self.tracker.release_session(order.reservation.session_id).await.map(drop)
                };
                timed(1, pair).await
            }
            Action::ReleaseBatch => {
                let orders = self.orders.draw_batch(self.batch, None);
                let reservations: Vec<_> =
                    orders.into_iter().map(|order| order.reservation).collect();
                let answers = self.tracker.reserve_sessions(&reservations).await?;
                answers.iter().try_for_each(was_admitted)?;
                let ids: Vec<_> = reservations.iter().map(|wish| wish.session_id).collect();
                let release = async { self.tracker.release_sessions(&ids).await.map(drop) };
                timed(ids.len() as u64, release).await
            }
            _ => {
                let order = self.orders.draw();
                timed(1, self.reserve(&order)).await
            }
        }
    }
}

impl Pooled {
    async fn reserve(&self, order: &Order) -> Result<()> {
        was_admitted(&self.tracker.reserve_session(&order.reservation).await?)
    }
}

fn was_admitted(admission: &Admission) -> Result<()> {
    if admission.is_admitted() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Database, "a session was not admitted")
        .hint("such a run gives no figure"))
}

/// What a team achieved in a slice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slice {
    pub(super) ops_per_second: f64,
    /// Times of a call or, where that is the operation, of a pair. `None`: nobody took them.
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    pub(super) errors: u64,
    /// What was done at all, or 0 where nobody but a program of its own knows.
    pub(super) operations: u64,
    /// For how long it kept processors busy, here and on a server beside.
    pub(super) busy: Option<Duration>,
}

impl Slice {
    /// Microseconds of a processor that an operation took, with all that belongs to its turn.
    #[expect(clippy::cast_precision_loss, reason = "no slice has 2^52 operations")]
    pub(super) fn cpu_us(&self) -> Option<f64> {
        let busy = self.busy.filter(|_| self.operations > 0)?;
        Some(busy.as_secs_f64() * 1e6 / self.operations as f64)
    }
}

/// Lets all players work for this long. If one fails, all stop, and the team is no more.
pub(super) async fn play<P: Player>(players: &mut Vec<P>, length: Duration) -> Result<Slice> {
    let mut running: JoinSet<Result<(P, Record)>> =
        mem::take(players).into_iter().map(|player| work(player, length)).collect();
    let mut slice = Slice::default();
    let mut times = times();
    while let Some(ended) = running.join_next().await {
        let (player, record) = ended.map_err(ended_early)??;
        slice.ops_per_second += record.ops_per_second();
        slice.errors += record.errors;
        slice.operations += record.operations;
        // Both have the same bounds.
        let _ = times.add(&record.times);
        players.push(player);
    }
    slice.p50_us = Some(times.value_at_quantile(0.5));
    slice.p99_us = Some(times.value_at_quantile(0.99));
    Ok(slice)
}

pub(super) fn ended_early(error: JoinError) -> Error {
    Error::new(ErrorKind::Io, "a client ended before its time").caused_by(error)
}

/// What one player achieved in a slice.
struct Record {
    operations: u64,
    busy: Duration,
    times: Histogram<u64>,
    errors: u64,
}

impl Record {
    #[expect(clippy::cast_precision_loss, reason = "no slice has 2^52 operations")]
    fn ops_per_second(&self) -> f64 {
        self.operations as f64 / self.busy.as_secs_f64().max(1e-6)
    }
}

async fn work<P: Player>(mut player: P, length: Duration) -> Result<(P, Record)> {
    let errors = player.errors();
    let mut record = Record { operations: 0, busy: Duration::ZERO, times: times(), errors: 0 };
    let started = Instant::now();
    while started.elapsed() < length {
        let turn = player.turn().await?;
        record.operations += turn.operations;
        record.busy += turn.took;
        record.times.saturating_record(u64::try_from(turn.took.as_micros()).unwrap_or(u64::MAX));
    }
    record.errors = player.errors() - errors;
    Ok((player, record))
}

/// Microseconds, up to an hour, to three digits.
pub(super) fn times() -> Histogram<u64> {
    Histogram::new_with_max(3_600_000_000, 3).expect("these bounds are valid")
}
