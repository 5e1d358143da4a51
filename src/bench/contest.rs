//! Two teams take turns.

use std::fmt;
use std::time::Duration;

use crate::bench::calls::functions;
use crate::bench::calls::queue::{self, Waiting};
use crate::bench::databases::Databases;
use crate::bench::effort::Meter;
use crate::bench::figure::Figure;
use crate::bench::link::Link;
use crate::bench::managers::Managers;
use crate::bench::order::{GROUP, Orders};
use crate::bench::pgbench::Pgbench;
use crate::bench::player::{Direct, Pooled, Slice, play};
use crate::bench::scenario::{Action, Lineup, Means, Scenario, Side, Ticking, WakeUps, Way};
use crate::bench::{Options, Protocol};
use crate::config::Config;
use crate::error::Result;
use crate::handles::Handles;
use crate::scheduling::{Scheduler, SchedulerOptions};

/// A scenario with a number of clients.
pub(super) struct Contest<'a> {
    pub(super) scenario: Scenario,
    pub(super) clients: usize,
    pub(super) options: &'a Options,
}

impl fmt::Display for Contest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.clients == 1 { "" } else { "s" };
        write!(f, "`{}` with {} client{plural}", self.scenario, self.clients)
    }
}

impl<'a> Contest<'a> {
    pub(super) fn new(scenario: Scenario, clients: usize, options: &'a Options) -> Self {
        Self { scenario, clients, options }
    }

    /// How often `on_round` is called.
    pub(super) fn rounds(&self) -> u64 {
        1 + self.options.slices as u64
    }

    /// Fills what it needs, measures, and clears up.
    pub(super) async fn run(
        &self,
        databases: &Databases,
        on_round: impl Fn(u64, String),
    ) -> Result<Figure> {
        on_round(0, format!("{self}: filling the database"));
        let lineup = self.scenario.lineup(&self.options.sizes);
        let (mut ours, mut beside) = self.teams(&lineup, databases).await?;

        // Plans, caches and connections come to be in the first round, which does not count.
        let warm_up = self.options.slice / 2;
        ours.slice(warm_up).await?;
        beside.slice(warm_up).await?;
        let mut slices = Vec::with_capacity(self.options.slices);
        let meter = Meter::of(databases).await?;
        for round in 1..=self.options.slices {
            let theirs = beside.metered_slice(self.options.slice, &meter).await?;
            let pair = (ours.metered_slice(self.options.slice, &meter).await?, theirs);
            on_round(round as u64, self.line(&lineup, pair));
            slices.push(pair);
        }
        drop((ours, beside));
        databases.drop_copies().await?;
        Ok(Figure::new(self, lineup.beside.name, &slices))
    }

    async fn teams(&self, lineup: &Lineup, databases: &Databases) -> Result<(Team, Team)> {
        let home = lineup.ours.ground.lay(databases).await?;
        // Two teams can reserve in one database, but not wait in one queue.
        let queues = matches!(lineup.ours.means, Means::Managers(_));
        let away = if lineup.beside.ground == lineup.ours.ground && !queues {
            home.clone()
        } else {
            lineup.beside.ground.lay(databases).await?
        };
        if lineup.action == Action::Reject {
            functions::prove_that_a_rejection_locks_nothing(&home).await?;
        }
        Ok((
            self.team(&lineup.ours, lineup.action, &home, 0).await?,
            self.team(&lineup.beside, lineup.action, &away, 1).await?,
        ))
    }

    async fn team(
        &self,
        side: &Side,
        action: Action,
        config: &Config,
        side_number: u64,
    ) -> Result<Team> {
        let Options { protocol, seed, sizes, .. } = self.options;
        let orders = |player: usize| {
            // No two players of a contest ask for the same.
            let stream = (player as u64) << 1 | side_number;
            Orders::new(side.choice.clone(), seed.wrapping_mul(1 << 32).wrapping_add(stream))
        };
        match side.means {
            Means::Connections(way) => {
                let mut players = Vec::with_capacity(self.clients);
                for player in 0..self.clients {
                    let link = Link::connect(config, *protocol).await?;
                    if way == Way::Transaction {
                        // As what it sends instead of calls writes tables of the owner's.
                        link.control("set role occupancy_owner").await?;
                    }
                    let batch = sizes.batch as usize;
                    players.push(Direct { link, orders: orders(player), action, way, batch });
                }
                Ok(Team::Direct(players))
            }
            Means::Pool(wake_ups) => {
                let prepared = *protocol == Protocol::Prepared;
                let config = config.clone().with_pool_size(self.clients);
                let config = config.with_prepared_statements(prepared).without_lease();
                let config = config.with_wake_ups(wake_ups != WakeUps::Off);
                let handles = Handles::connect(&config).await?;
                let scheduler = match wake_ups {
                    WakeUps::Awaited => Some(self.let_one_wait(&handles).await?),
                    WakeUps::On | WakeUps::Off => None,
                };
                let batch = sizes.batch as usize;
                let player = |player| {
                    let tracker = handles.tracker().clone();
                    Pooled { tracker, orders: orders(player), action, batch }
                };
                let players = (0..self.clients).map(player).collect();
                Ok(Team::Pooled { players, _scheduler: scheduler })
            }
            Means::Pgbench => {
                let prepared = *protocol == Protocol::Prepared;
                let pgbench = Pgbench::new(config, &side.choice, self.clients, prepared)?;
                Ok(Team::Pgbench(Box::new(pgbench)))
            }
            Means::Managers(ticking) => {
                let managers = self.managers(config, ticking).await?;
                Ok(Team::Managers(Box::new(managers)))
            }
        }
    }

    /// A session that fits nowhere, and a scheduler that hopes for it.
    async fn let_one_wait(&self, handles: &Handles) -> Result<Scheduler> {
        let mut link = Link::connect(handles.config(), self.options.protocol).await?;
        let waiting = Waiting { sessions: 1, keys: 1, shapes: 1, fits: false };
        queue::enqueue(&mut link, waiting).await?;
        Scheduler::start(handles, SchedulerOptions::of(GROUP), ())
    }

    /// A queue in which a tick's worth waits for each client of the contest.
    async fn managers(&self, config: &Config, ticking: Ticking) -> Result<Managers> {
        let Ticking { mut waiting, alone, unit } = ticking;
        let max_sessions = waiting.sessions;
        waiting.sessions *= u32::try_from(self.clients).unwrap_or(u32::MAX);
        let managers = if alone { 1 } else { self.clients };
        let protocol = self.options.protocol;
        Managers::connect(config, protocol, managers, waiting, max_sessions, unit).await
    }

    fn line(&self, lineup: &Lineup, (ours, theirs): (Slice, Slice)) -> String {
        format!(
            "{self}: {:.0}/s beside {:.0}/s ({})",
            ours.ops_per_second, theirs.ops_per_second, lineup.beside.name
        )
    }
}

/// The clients of one side.
enum Team {
    Direct(Vec<Direct>),
    Pooled {
        players: Vec<Pooled>,
        /// Whom they wake; it ends with them.
        _scheduler: Option<Scheduler>,
    },
    Pgbench(Box<Pgbench>),
    Managers(Box<Managers>),
}

impl Team {
    /// Works for this long, and tells for how long that kept processors busy.
    async fn metered_slice(&mut self, length: Duration, meter: &Meter) -> Result<Slice> {
        let before = meter.read().await?;
        let mut slice = self.slice(length).await?;
        if let (Some(before), Some(after)) = (before, meter.read().await?) {
            slice.busy = Some(after.since(&before));
        }
        Ok(slice)
    }

    /// Works for this long.
    async fn slice(&mut self, length: Duration) -> Result<Slice> {
        match self {
            Self::Direct(players) => play(players, length).await,
            Self::Pooled { players, .. } => play(players, length).await,
            Self::Pgbench(pgbench) => pgbench.run(length).await,
            Self::Managers(managers) => managers.slice(length).await,
        }
    }
}
