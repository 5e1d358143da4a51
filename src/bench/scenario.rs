//! What is measured, and beside what.

use std::fmt;

use clap::ValueEnum;

use crate::bench::Sizes;
use crate::bench::calls::queue::Waiting;
use crate::bench::ground::{Ground, Past};
use crate::bench::managers::Unit;
use crate::bench::order::Choice;

/// What the clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// reserve a kernel of 3 slots, all over the keys and agents
    Cold,
    /// reserve, then release
    Pair,
    /// reserve, always for the same key
    HotKey,
    /// reserve, always on the same agent
    HotAgent,
    /// reserve for a key that is at its limit
    Full,
    /// reserve within limits of key, user, project and domain
    Quota4,
    /// reserve in batches
    Batch,
    /// reserve in batches of which a tenth is rejected
    BatchRejected,
    /// release in batches
    ReleaseBatch,
    /// the function beside the same logic as statements from the client
    ClientSide,
    /// cold with a long history behind it, beside none
    History,
    /// cold for a key with many live sessions, beside one with 10
    ManyLive,
    /// cold with many agents, beside 10
    ManyAgents,
    /// cold through this library's pool, beside pgbench
    Client,
    /// pair through the pool with wake-ups while nobody waits, beside the pool without
    WakeUps,
    /// release in batches likewise
    WakeUpsBatch,
    /// pair through the pool while a session waits and a scheduler listens, beside the pool without
    WakeUpsAwaited,
    /// place what waits, 10 distinct requests, beside a batch that is told where to go
    Tick,
    /// the same with as many distinct requests as sessions
    TickShapes,
    /// several managers tick one queue, beside one alone
    TickManagers,
    /// a tick over ten times as many of which none fits, beside one that places all
    TickNoneFits,
    /// tick with a long history behind it, beside none
    TickHistory,
}

/// What a client does in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Reserve,
    /// Reserves, and releases when the clock has stopped, so that no more live than before.
    ReserveAside,
    Pair,
    Reject,
    ReserveBatch {
        nth_full: Option<usize>,
    },
    ReleaseBatch,
}

/// Who decides, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Our functions.
    Functions,
    /// Nobody decides: the floor's functions.
    Floor,
    /// The client, in a transaction of its own statements.
    Transaction,
}

/// Through what a team reaches the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// A connection for each client.
    Connections(Way),
    /// This library's pool, with as many connections as clients.
    Pool(WakeUps),
    /// The pgbench program.
    Pgbench,
    /// Managers that tick.
    Managers(Ticking),
}

/// Whether what is freed through a pool wakes schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeUps {
    Off,
    /// Nobody waits for them, unless another team lets somebody.
    On,
    /// A session waits that fits nowhere, and a scheduler listens.
    Awaited,
}

/// What managers find in their queue, and how they go about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticking {
    /// What waits for each client of the contest, whoever ticks.
    pub(super) waiting: Waiting,
    /// Whether there is one manager only, however many clients there are.
    pub(super) alone: bool,
    pub(super) unit: Unit,
}

/// What is to be reached at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// Of our operations per second to the other's.
    Ratio(f64),
    /// Operations per second.
    Speed(f64),
}

/// One of two teams.
pub(super) struct Side {
    /// What it is called in the table, where it is compared with.
    pub(super) name: &'static str,
    pub(super) means: Means,
    pub(super) ground: Ground,
    pub(super) choice: Choice,
}

/// Two teams that do the same.
pub(super) struct Lineup {
    pub(super) action: Action,
    pub(super) ours: Side,
    pub(super) beside: Side,
}

/// How many agents, or live sessions of a key, are few.
const FEW: u32 = 10;

impl Scenario {
    /// Those that a run without names measures: all that has a floor.
    pub(crate) const USUAL: [Self; 10] = [
        Self::Cold,
        Self::Pair,
        Self::HotKey,
        Self::HotAgent,
        Self::Full,
        Self::Quota4,
        Self::Batch,
        Self::BatchRejected,
        Self::ReleaseBatch,
        Self::ClientSide,
    ];

    /// With how many clients it is usually measured.
    pub(super) fn clients(self) -> &'static [usize] {
        match self {
            Self::Full => &[32],
            Self::Batch => &[1, 2, 4],
            Self::BatchRejected
            | Self::ReleaseBatch
            | Self::History
            | Self::ManyLive
            | Self::ManyAgents
            | Self::WakeUpsBatch
            | Self::Tick
            | Self::TickShapes
            | Self::TickNoneFits
            | Self::TickHistory => &[1],
            Self::TickManagers | Self::WakeUps | Self::WakeUpsAwaited => &[4],
            _ => &[1, 16],
        }
    }

    /// What is to be reached with so many clients, where there is such a goal. What grows may cost
    /// 1.15 times as much as what does not.
    pub(super) fn goal(self, clients: usize) -> Option<Goal> {
        let (alone, crowded) = match self {
            Self::Cold | Self::Pair => (0.75, 0.6),
            Self::HotKey | Self::HotAgent => (0.8, 0.75),
            Self::Quota4 => (0.7, 0.6),
            Self::ClientSide => (2.0, 1.5),
            Self::Full => return (clients == 32).then_some(Goal::Ratio(0.6)),
            Self::Batch | Self::ReleaseBatch => return Some(Goal::Ratio(0.4)),
            Self::BatchRejected | Self::WakeUpsAwaited => return None,
            Self::WakeUps | Self::WakeUpsBatch => return Some(Goal::Ratio(0.95)),
            Self::History | Self::ManyLive | Self::ManyAgents | Self::TickHistory => {
                return Some(Goal::Ratio(1.0 / 1.15));
            }
            Self::Client => return Some(Goal::Ratio(0.9)),
            Self::Tick => return Some(Goal::Speed(5000.0)),
            Self::TickShapes => return Some(Goal::Speed(700.0)),
            Self::TickManagers | Self::TickNoneFits => return Some(Goal::Ratio(1.0)),
        };
        match clients {
            1 => Some(Goal::Ratio(alone)),
            16 => Some(Goal::Ratio(crowded)),
            _ => None,
        }
    }

    pub(super) fn lineup(self, sizes: &Sizes) -> Lineup {
        let action = self.action();
        let ours = self.ours(sizes);
        let beside = self.beside(sizes);
        Lineup { action, ours, beside }
    }

    fn action(self) -> Action {
        match self {
            Self::Pair | Self::WakeUps | Self::WakeUpsAwaited => Action::Pair,
            Self::Full => Action::Reject,
            // Of those that tick it is what they are compared with.
            Self::Batch | Self::Tick | Self::TickShapes => Action::ReserveBatch { nth_full: None },
            Self::BatchRejected => Action::ReserveBatch { nth_full: Some(10) },
            Self::ReleaseBatch | Self::WakeUpsBatch => Action::ReleaseBatch,
            Self::History | Self::ManyLive | Self::ManyAgents => Action::ReserveAside,
            _ => Action::Reserve,
        }
    }

    fn ours(self, sizes: &Sizes) -> Side {
        let mut side = self.plain(sizes);
        match self {
            Self::Client | Self::WakeUps | Self::WakeUpsBatch => {
                side.means = Means::Pool(WakeUps::On);
            }
            Self::WakeUpsAwaited => side.means = Means::Pool(WakeUps::Awaited),
            Self::History => {
                let keys = sizes.keys;
                let (ended, live) = (sizes.ended, sizes.live);
                side.ground.past.push(Past { ended, live, first_key: 1, keys, queued: false });
            }
            Self::Tick | Self::TickManagers => side.means = ticking(sizes, |_| ()),
            Self::TickShapes => side.means = ticking(sizes, |t| t.waiting.shapes = sizes.waiting),
            Self::TickNoneFits => {
                side.means = ticking(sizes, |ticking| {
                    ticking.waiting.sessions *= 10;
                    ticking.waiting.fits = false;
                    ticking.unit = Unit::Tick;
                });
            }
            Self::TickHistory => {
                side.means = ticking(sizes, |_| ());
                let (ended, keys) = (sizes.ended, sizes.keys);
                side.ground.past.push(Past { ended, live: 0, first_key: 1, keys, queued: true });
            }
            Self::ManyLive => side.choice.first_key = 2,
            Self::ManyAgents => side = side.with_agents(sizes.many),
            _ => {}
        }
        side
    }

    fn beside(self, sizes: &Sizes) -> Side {
        let side = self.plain(sizes);
        match self {
            Self::ClientSide => Side {
                name: "statements from the client",
                means: Means::Connections(Way::Transaction),
                ..side
            },
            Self::Client => Side { name: "pgbench", means: Means::Pgbench, ..side },
            Self::WakeUps | Self::WakeUpsBatch | Self::WakeUpsAwaited => {
                Side { name: "no wake-ups", means: Means::Pool(WakeUps::Off), ..side }
            }
            Self::History => Side { name: "no history", ..side },
            Self::Tick | Self::TickShapes => Side { name: "reserve_sessions", ..side },
            Self::TickManagers => {
                Side { name: "one manager", means: ticking(sizes, |t| t.alone = true), ..side }
            }
            Self::TickNoneFits => {
                let means = ticking(sizes, |ticking| ticking.unit = Unit::Tick);
                Side { name: "a tick that places", means, ..side }
            }
            Self::TickHistory => Side { name: "no history", means: ticking(sizes, |_| ()), ..side },
            Self::ManyLive => Side { name: "10 live sessions", ..side },
            Self::ManyAgents => Side { name: "10 agents", ..side.with_agents(FEW) },
            _ => Side { name: "floor", means: Means::Connections(Way::Floor), ..side },
        }
    }

    /// Our functions on what both teams have in common.
    fn plain(self, sizes: &Sizes) -> Side {
        let quotas = self == Self::Quota4;
        let (mut keys, mut agents, mut past) = (sizes.keys, sizes.agents, Vec::new());
        match self {
            Self::HotKey => keys = 1,
            Self::HotAgent => agents = 1,
            Self::ManyLive => {
                keys = 2;
                let live =
                    |live, first_key| Past { ended: 0, live, first_key, keys: 1, queued: false };
                past.push(live(FEW, 1));
                past.push(live(sizes.many, 2));
            }
            Self::Tick
            | Self::TickShapes
            | Self::TickManagers
            | Self::TickNoneFits
            | Self::TickHistory => agents = sizes.waiting,
            _ => {}
        }
        let chosen = if self == Self::ManyLive { 1 } else { keys };
        Side {
            name: "functions",
            means: Means::Connections(Way::Functions),
            choice: Choice { first_key: 1, keys: chosen, agents, quotas },
            ground: Ground { keys, agents, quotas, past },
        }
    }
}

/// How many distinct requests are few.
const FEW_SHAPES: u32 = 10;

/// As many sessions as there are agents, few requests, room for all; but for what is changed.
fn ticking(sizes: &Sizes, change: impl FnOnce(&mut Ticking)) -> Means {
    let (sessions, keys) = (sizes.waiting, sizes.keys);
    let waiting = Waiting { sessions, keys, shapes: FEW_SHAPES.min(sessions), fits: true };
    let mut ticking = Ticking { waiting, alone: false, unit: Unit::Session };
    change(&mut ticking);
    Means::Managers(ticking)
}

impl Side {
    fn with_agents(mut self, agents: u32) -> Self {
        self.ground.agents = agents;
        self.choice.agents = agents;
        self
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every variant has a name on the command line.
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}
