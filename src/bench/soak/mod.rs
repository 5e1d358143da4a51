//! A long run of pairs, and whether anything creeps: speed, sizes, updates in place.

mod course;
mod endurance;
mod growth;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;

pub(crate) use self::endurance::{Endurance, Goals};

use self::course::Course;
use self::growth::{Growth, Looks, sizes};
use crate::bench::databases::Databases;
use crate::bench::ground::Ground;
use crate::bench::link::Link;
use crate::bench::order::{Choice, Orders};
use crate::bench::player::{Direct, Player, ended_early, play};
use crate::bench::scenario::{Action, Way};
use crate::bench::{Protocol, while_measuring};
use crate::config::Config;
use crate::error::Result;
use crate::statements as sql;
use crate::workload::progress::Progress;

/// How long the clients work before anything counts, so that caches and plans are filled.
const WARM_UP: Duration = Duration::from_millis(250);
/// How often ended sessions are forgotten, sizes looked at, and progress is shown.
const EVERY: Duration = Duration::from_secs(1);
/// `prune_ended` forgets no more at once.
const PRUNED_AT_ONCE: i64 = 10_000;

/// How long to go on, and in which company.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) pairs: u64,
    /// How long the run beside an idle transaction may take; `None` leaves it out.
    pub(crate) idle_limit: Option<Duration>,
    pub(crate) clients: usize,
    pub(crate) retention: Duration,
    pub(crate) keys: u32,
    pub(crate) agents: u32,
    pub(crate) seed: u64,
}

/// Runs twice: alone, and beside a transaction that is left idle. Each run is reported when it is done,
/// whatever becomes of the next.
pub(crate) async fn run(
    databases: &Databases,
    options: &Options,
    progress: &Progress,
    mut report: impl FnMut(&Endurance) -> Result<()>,
) -> Result<()> {
    databases.prepare().await?;
    let beside = options.idle_limit.map(|limit| Company::IdleTransaction { limit });
    for company in [Some(Company::Nobody), beside].into_iter().flatten() {
        progress.start(options.pairs);
        let endurance = endure(databases, options, company, progress).await;
        progress.finish();
        report(&endurance.map_err(|error| while_measuring(company.in_words(), error))?)?;
        databases.drop_copies().await?;
    }
    Ok(())
}

async fn endure(
    databases: &Databases,
    options: &Options,
    company: Company,
    progress: &Progress,
) -> Result<Endurance> {
    let mut run = Run::prepare(databases, options, company).await?;
    let warmed_up = play(&mut run.clients, WARM_UP).await?.operations;
    let course = Arc::new(Course::begin(options.pairs, company.limit()));
    let ended = run.go(&course, progress).await?;
    run.sum_up(&course, warmed_up, ended).await
}

/// Who else is connected.
#[derive(Clone, Copy, Debug)]
enum Company {
    Nobody,
    /// The longer it lasts the slower everything gets, so that somebody has to say when to stop.
    IdleTransaction {
        limit: Duration,
    },
}

impl Company {
    fn limit(self) -> Option<Duration> {
        match self {
            Self::Nobody => None,
            Self::IdleTransaction { limit } => Some(limit),
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Nobody => "`soak` alone",
            Self::IdleTransaction { .. } => "`soak` beside an idle transaction",
        }
    }
}

struct Run<'a> {
    options: &'a Options,
    company: Company,
    clients: Vec<Direct>,
    /// Looks on from aside.
    observer: Client,
    pruner: Client,
    idle: Option<Client>,
}

/// What is known when the last client is done.
struct Ended {
    errors: u64,
    pruned: i64,
    looks: Looks,
}

impl<'a> Run<'a> {
    async fn prepare(
        databases: &Databases,
        options: &'a Options,
        company: Company,
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
        let (observer, pruner) = (config.connect().await?, config.connect().await?);
        let idle = match company {
            Company::Nobody => None,
            Company::IdleTransaction { .. } => Some(leave_idle(&config).await?),
        };
        Ok(Self { options, company, clients, observer, pruner, idle })
    }

    /// Lets the clients work until the course is at its end, and forgets what they leave.
    async fn go(&mut self, course: &Arc<Course>, progress: &Progress) -> Result<Ended> {
        let retention = self.options.retention.as_secs_f64();
        let mut running: JoinSet<Result<Direct>> =
            self.clients.drain(..).map(|client| pair_up(client, Arc::clone(course))).collect();
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = Ended { errors: 0, pruned: 0, looks: Looks::along(self.options.pairs) };
        loop {
            tokio::select! {
                client = running.join_next() => match client {
                    None => return Ok(ended),
                    Some(client) => ended.errors += client.map_err(ended_early)??.errors(),
                },
                _ = tick.tick() => {
                    let made = course.made();
                    ended.looks.look(&self.observer, made).await?;
                    ended.pruned += prune(&self.pruner, retention).await?;
                    let (company, pruned) = (self.company.in_words(), ended.pruned);
                    let line = format!("{company}: {made} pairs, {pruned} forgotten");
                    progress.update(course.progress(), line);
                }
            }
        }
    }

    async fn sum_up(self, course: &Course, warmed_up: u64, ended: Ended) -> Result<Endurance> {
        let pace = course.pace();
        let hot_share = hot_shares(&self.observer, warmed_up + pace.made).await?;
        let end = sizes(&self.observer).await?;
        let first = ended.looks.after_first_tenth(pace.made).unwrap_or(&end).to_vec();
        let speeds = pace.speeds();
        let ratio = speeds.first().zip(speeds.last()).map(|(first, last)| last / first);
        let pause = autovacuum_pause(&self.observer).await?;
        let first_tenth = pace.when(pace.made / 10);
        if let Some(idle) = self.idle {
            // An error if it has not been there all the time.
            idle.batch_execute("select pg_current_xact_id(); rollback").await?;
        }
        let run = Endurance {
            idle_transaction: matches!(self.company, Company::IdleTransaction { .. }),
            pairs: pace.made,
            pairs_planned: self.options.pairs,
            complete: pace.made == self.options.pairs,
            seconds: pace.seconds(),
            limit_seconds: self.company.limit().map(|limit| limit.as_secs_f64()),
            clients: self.options.clients,
            retention_seconds: self.options.retention.as_secs_f64(),
            pairs_per_second: speeds,
            ratio,
            errors: ended.errors,
            pruned: ended.pruned,
            hot_share,
            relations: first.iter().zip(end).map(|(a, b)| Growth::between(a, b)).collect(),
            sizes_settled: first_tenth >= pause,
            goals: Goals::default(),
        };
        Ok(run.judged())
    }
}

/// Begins a transaction that has done something, and leaves it alone; the server is not to end it.
async fn leave_idle(config: &Config) -> Result<Client> {
    let client = config.connect().await?;
    client
        .batch_execute(
            "select set_config(name, '0', false) from pg_settings
              where name in ('idle_in_transaction_session_timeout', 'transaction_timeout')",
        )
        .await?;
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

/// How many seconds pass until autovacuum looks at a database again; none, where it never does.
async fn autovacuum_pause(client: &Client) -> Result<f64> {
    let sql = "select case when current_setting('autovacuum')::boolean
                      then extract(epoch from current_setting('autovacuum_naptime')::interval)
                      else 0 end::float8";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// Each pair updates its key and its agent twice; a backend tells of that a little later. Shares of
/// what is not counted yet would be of nobody knows what.
async fn hot_shares(client: &Client, pairs: u64) -> Result<BTreeMap<String, f64>> {
    const LOOKS: u32 = 150;
    let updates = i64::try_from(pairs).unwrap_or(i64::MAX).saturating_mul(4);
    let mut tick = interval(Duration::from_millis(100));
    for _ in 0..LOOKS {
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
        if seen >= updates {
            return Ok(shares);
        }
    }
    Ok(BTreeMap::new())
}
