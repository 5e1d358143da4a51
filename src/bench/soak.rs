//! A long run of pairs, and whether anything creeps: speed, sizes, updates in place.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;

use crate::bench::Protocol;
use crate::bench::databases::Databases;
use crate::bench::ground::Ground;
use crate::bench::link::Link;
use crate::bench::order::{Choice, Orders};
use crate::bench::player::{Direct, Player, ended_early};
use crate::bench::scenario::{Action, Way};
use crate::config::Config;
use crate::error::Result;
use crate::statements as sql;
use crate::workload::progress::Progress;

/// How often ended sessions are forgotten, and progress is shown.
const EVERY: Duration = Duration::from_secs(1);
/// `prune_ended` forgets no more at once.
const PRUNED_AT_ONCE: i64 = 10_000;

/// What a run is to reach: the speed of its last tenth, of the first; the growth of whatever does
/// not hold remembered sessions; the share of updates in place.
const SPEED: f64 = 0.9;
const GROWTH: f64 = 3.0;
const IN_PLACE: f64 = 0.95;

/// How long to go on, and in which company.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) pairs: u64,
    pub(crate) clients: usize,
    pub(crate) retention: Duration,
    pub(crate) keys: u32,
    pub(crate) agents: u32,
    pub(crate) seed: u64,
}

/// What became of a long run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Endurance {
    /// Whether another connection left a transaction idle meanwhile, which keeps vacuum from
    /// removing anything.
    pub(crate) idle_transaction: bool,
    pub(crate) pairs: u64,
    pub(crate) clients: usize,
    pub(crate) retention_seconds: f64,
    pub(crate) seconds: f64,
    /// Of each tenth of the pairs.
    pub(crate) pairs_per_second: Vec<f64>,
    /// The last tenth to the first.
    pub(crate) ratio: f64,
    pub(crate) errors: u64,
    /// Ended sessions that were forgotten.
    pub(crate) pruned: i64,
    /// The share of updates that stayed in their page and touched no index, by table.
    pub(crate) hot_share: BTreeMap<String, f64>,
    pub(crate) relations: Vec<Growth>,
    /// Whether the first tenth took so long that autovacuum came by. Before it does everything grows,
    /// and sizes tell nothing.
    pub(crate) sizes_settled: bool,
    /// The goals that were not reached, in words.
    pub(crate) missed: Vec<String>,
}

/// The size of a table or an index.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) relation: String,
    /// Whether it holds the remembered sessions, which the retention bounds. An index of those that
    /// live does not.
    pub(crate) remembers: bool,
    pub(crate) first_tenth_bytes: i64,
    pub(crate) end_bytes: i64,
    /// The end to the first tenth.
    pub(crate) factor: f64,
}

/// Runs twice: alone, and beside a transaction that is left idle.
pub(crate) async fn run(
    databases: &Databases,
    options: &Options,
    progress: &Progress,
) -> Result<Vec<Endurance>> {
    databases.prepare().await?;
    let mut runs = Vec::new();
    for idle_transaction in [false, true] {
        progress.start(options.pairs);
        let run = Run::begin(databases, options, idle_transaction).await;
        let outcome = match run {
            Ok(run) => run.endure(progress).await,
            Err(error) => Err(error),
        };
        progress.finish();
        runs.push(outcome?);
        databases.drop_copies().await?;
    }
    Ok(runs)
}

struct Run<'a> {
    options: &'a Options,
    config: Config,
    clients: Vec<Direct>,
    /// Looks on from aside.
    observer: Client,
    idle: Option<Client>,
    course: Arc<Course>,
    pruned: i64,
}

impl<'a> Run<'a> {
    async fn begin(
        databases: &Databases,
        options: &'a Options,
        idle_transaction: bool,
    ) -> Result<Self> {
        let Options { keys, agents, .. } = *options;
        let ground = Ground { keys, agents, quotas: false, past: Vec::new() };
        let config = ground.lay(databases).await?;
        let mut clients = Vec::with_capacity(options.clients);
        for client in 0..options.clients {
            let choice = Choice { first_key: 1, keys, agents, quotas: false };
            clients.push(Direct {
                link: Link::connect(&config, Protocol::Unnamed).await?,
                orders: Orders::new(choice, options.seed.wrapping_add((client as u64) << 32)),
                action: Action::Pair,
                way: Way::Functions,
                batch: 1,
            });
        }
        let observer = config.connect().await?;
        let idle = if idle_transaction { Some(leave_idle(&config).await?) } else { None };
        let course = Arc::new(Course::new(options.pairs));
        Ok(Self { options, config, clients, observer, idle, course, pruned: 0 })
    }

    async fn endure(mut self, progress: &Progress) -> Result<Endurance> {
        let pruner = self.config.connect().await?;
        let retention = self.options.retention.as_secs_f64();
        let mut running: JoinSet<Result<Direct>> = self
            .clients
            .drain(..)
            .map(|client| pair_up(client, Arc::clone(&self.course)))
            .collect();
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut after_first_tenth = None;
        let mut errors = 0;
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => break,
                    Some(ended) => errors += ended.map_err(ended_early)??.errors(),
                },
                _ = tick.tick() => {
                    if after_first_tenth.is_none() && self.course.tenths().len() > 1 {
                        after_first_tenth = Some(sizes(&self.observer).await?);
                    }
                    self.pruned += prune(&pruner, retention).await?;
                    progress.update(self.course.done(), self.line());
                }
            }
        }
        let first = match after_first_tenth {
            Some(sizes) => sizes,
            None => sizes(&self.observer).await?,
        };
        self.sum_up(errors, first).await
    }

    fn line(&self) -> String {
        let company = if self.idle.is_some() { "beside an idle transaction" } else { "alone" };
        format!("{company}: {} pairs, {} forgotten", self.course.done(), self.pruned)
    }

    async fn sum_up(self, errors: u64, first: Vec<Size>) -> Result<Endurance> {
        let hot_share = hot_shares(&self.observer, self.course.done()).await?;
        let end = sizes(&self.observer).await?;
        let tenths = self.course.tenths();
        let speeds: Vec<f64> = tenths.windows(2).map(|pair| self.course.speed(pair)).collect();
        let ratio = match (speeds.first(), speeds.last()) {
            (Some(first), Some(last)) => last / first,
            _ => f64::NAN,
        };
        let seconds = match (tenths.first(), tenths.last()) {
            (Some(start), Some(end)) => end.duration_since(*start).as_secs_f64(),
            _ => 0.0,
        };
        let relations: Vec<_> = first.into_iter().zip(end).map(Growth::between).collect();
        let pause = autovacuum_pause(&self.observer).await?;
        let sizes_settled =
            tenths.get(1).is_some_and(|end| end.duration_since(tenths[0]).as_secs_f64() >= pause);
        let judged = if sizes_settled { &*relations } else { &[] };
        Ok(Endurance {
            missed: missed(ratio, errors, &hot_share, judged),
            sizes_settled,
            idle_transaction: self.idle.is_some(),
            pairs: self.course.done(),
            clients: self.options.clients,
            retention_seconds: self.options.retention.as_secs_f64(),
            seconds,
            pairs_per_second: speeds,
            ratio,
            errors,
            pruned: self.pruned,
            hot_share,
            relations,
        })
    }
}

/// The goals that were not reached; a ratio that is no number reaches none.
fn missed(
    ratio: f64,
    errors: u64,
    hot_share: &BTreeMap<String, f64>,
    relations: &[Growth],
) -> Vec<String> {
    let mut missed = Vec::new();
    if ratio.is_nan() || ratio < SPEED {
        missed.push(format!("the last tenth ran at {ratio:.2} of the first, not at {SPEED}"));
    }
    for (table, share) in hot_share.iter().filter(|(_, share)| **share < IN_PLACE) {
        let (share, goal) = (share * 100.0, IN_PLACE * 100.0);
        missed.push(format!("{share:.1} % of the updates of {table} were in place, not {goal} %"));
    }
    for Growth { relation, factor, .. } in
        relations.iter().filter(|growth| !growth.remembers && growth.factor > GROWTH)
    {
        missed.push(format!("{relation} grew to {factor:.1} times its size, not to {GROWTH}"));
    }
    if errors > 0 {
        missed.push(format!("{errors} calls had to be repeated, not 0"));
    }
    missed
}

/// Begins a transaction that has done something, and leaves it alone.
async fn leave_idle(config: &Config) -> Result<Client> {
    let client = config.connect().await?;
    client.batch_execute("begin; select pg_current_xact_id()").await?;
    Ok(client)
}

async fn pair_up(mut client: Direct, course: Arc<Course>) -> Result<Direct> {
    while course.take() {
        client.turn().await?;
        course.finish();
    }
    Ok(client)
}

async fn prune(client: &Client, older_than: f64) -> Result<i64> {
    let mut pruned = 0;
    loop {
        let rows = sql::prune_ended.run(client, &[&older_than]).await?;
        let at_once: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        pruned += at_once;
        if at_once < PRUNED_AT_ONCE {
            return Ok(pruned);
        }
    }
}

/// How far the clients are, together.
struct Course {
    pairs: u64,
    taken: AtomicU64,
    done: AtomicU64,
    /// When it began, and when each tenth was done.
    tenths: Mutex<Vec<Instant>>,
}

impl Course {
    /// Of so many pairs, made up to tenths of equal length.
    fn new(pairs: u64) -> Self {
        let tenths = Mutex::new(vec![Instant::now()]);
        let pairs = pairs.div_ceil(10).max(1) * 10;
        Self { pairs, taken: AtomicU64::new(0), done: AtomicU64::new(0), tenths }
    }

    /// Whether there is another pair to do.
    fn take(&self) -> bool {
        self.taken.fetch_add(1, Ordering::Relaxed) < self.pairs
    }

    fn finish(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(self.pairs / 10) {
            self.tenths.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn tenths(&self) -> Vec<Instant> {
        self.tenths.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Pairs per second between two moments that are a tenth apart.
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 pairs")]
    fn speed(&self, moments: &[Instant]) -> f64 {
        let took = moments[1].duration_since(moments[0]).as_secs_f64();
        (self.pairs / 10) as f64 / took.max(1e-6)
    }
}

/// A table or an index now.
struct Size {
    relation: String,
    remembers: bool,
    bytes: i64,
}

async fn sizes(client: &Client) -> Result<Vec<Size>> {
    let rows = client
        .query(
            "select c.relname::text,
                    coalesce(i.indrelid, c.oid) in (
                      'occupancy.session'::regclass, 'occupancy.kernel'::regclass)
                      and coalesce(pg_get_expr(i.indpred, i.indrelid), '') !~ 'ended_at IS NULL',
                    pg_relation_size(c.oid)
               from pg_class c
               left join pg_index i on i.indexrelid = c.oid
              where c.relnamespace = 'occupancy'::regnamespace and c.relkind in ('r', 'i')
              order by c.relname",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let (relation, remembers) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Size { relation, remembers, bytes: row.try_get(2)? })
        })
        .collect()
}

/// How many seconds pass until autovacuum looks at a database again; none, where it never does.
async fn autovacuum_pause(client: &Client) -> Result<f64> {
    let sql = "select case when current_setting('autovacuum')::boolean
                      then extract(epoch from current_setting('autovacuum_naptime')::interval)
                      else 0 end::float8";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

impl Growth {
    fn between((first, end): (Size, Size)) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "no relation has 2^52 bytes")]
        let factor = if end.bytes == first.bytes {
            1.0
        } else {
            end.bytes as f64 / first.bytes.max(1) as f64
        };
        Self {
            relation: end.relation,
            remembers: end.remembers,
            first_tenth_bytes: first.bytes,
            end_bytes: end.bytes,
            factor,
        }
    }
}

/// Each pair updates its key and its agent twice; a backend tells of that a little later.
async fn hot_shares(client: &Client, pairs: u64) -> Result<BTreeMap<String, f64>> {
    const LOOKS: u32 = 100;
    let updates = i64::try_from(pairs).unwrap_or(i64::MAX).saturating_mul(4);
    let mut tick = interval(Duration::from_millis(100));
    for look in 1..=LOOKS {
        tick.tick().await;
        let rows = client
            .query(
                "select relname::text, n_tup_upd, n_tup_hot_upd::float8 / greatest(n_tup_upd, 1)
                   from pg_stat_user_tables
                  where schemaname = 'occupancy' and relname in ('keypair', 'agent')",
                &[],
            )
            .await?;
        let mut seen = 0;
        let mut shares = BTreeMap::new();
        for row in &rows {
            seen += row.try_get::<_, i64>(1)?;
            shares.insert(row.try_get(0)?, row.try_get(2)?);
        }
        if seen >= updates || look == LOOKS {
            return Ok(shares);
        }
    }
    Ok(BTreeMap::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_that_is_missed_is_told() {
        let hot =
            |keypair| BTreeMap::from([("agent".to_owned(), 1.0), ("keypair".to_owned(), keypair)]);
        let growth = |remembers, factor| Growth {
            relation: "keypair".to_owned(),
            remembers,
            first_tenth_bytes: 1,
            end_bytes: 1,
            factor,
        };
        let reached = missed(0.9, 0, &hot(0.95), &[growth(false, 3.0), growth(true, 10.0)]);
        assert_eq!(reached, [""; 0]);
        assert_eq!(
            missed(0.5, 1, &hot(0.9), &[growth(false, 3.5)]),
            [
                "the last tenth ran at 0.50 of the first, not at 0.9",
                "90.0 % of the updates of keypair were in place, not 95 %",
                "keypair grew to 3.5 times its size, not to 3",
                "1 calls had to be repeated, not 0",
            ]
        );
        assert_eq!(missed(f64::NAN, 0, &hot(1.0), &[]).len(), 1);
    }

    #[test]
    fn a_course_has_ten_tenths() {
        for pairs in [1, 10, 99, 100] {
            let course = Course::new(pairs);
            while course.take() {
                course.finish();
            }
            assert!(course.done() >= pairs && course.done() < pairs + 10);
            assert_eq!(course.tenths().len(), 11);
        }
    }
}
