//! What is measured, and beside what.

use std::fmt;

use clap::ValueEnum;

use crate::bench::Sizes;
use crate::bench::ground::{Ground, Past};
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
    Pool,
    /// The pgbench program.
    Pgbench,
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
            | Self::ManyAgents => &[1],
            _ => &[1, 16],
        }
    }

    /// The ratio that is to be reached with so many clients, where there is such a goal. What grows
    /// may cost 1.15 times as much as what does not.
    pub(super) fn goal(self, clients: usize) -> Option<f64> {
        let (alone, crowded) = match self {
            Self::Cold | Self::Pair => (0.75, 0.6),
            Self::HotKey | Self::HotAgent => (0.8, 0.75),
            Self::Quota4 => (0.7, 0.6),
            Self::ClientSide => (2.0, 1.5),
            Self::Full => return (clients == 32).then_some(0.6),
            Self::Batch | Self::ReleaseBatch => return Some(0.4),
            Self::BatchRejected => return None,
            Self::History | Self::ManyLive | Self::ManyAgents => return Some(1.0 / 1.15),
            Self::Client => return Some(0.9),
        };
        match clients {
            1 => Some(alone),
            16 => Some(crowded),
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
            Self::Pair => Action::Pair,
            Self::Full => Action::Reject,
            Self::Batch => Action::ReserveBatch { nth_full: None },
            Self::BatchRejected => Action::ReserveBatch { nth_full: Some(10) },
            Self::ReleaseBatch => Action::ReleaseBatch,
            Self::History | Self::ManyLive | Self::ManyAgents => Action::ReserveAside,
            _ => Action::Reserve,
        }
    }

    fn ours(self, sizes: &Sizes) -> Side {
        let mut side = self.plain(sizes);
        match self {
            Self::Client => side.means = Means::Pool,
            Self::History => {
                let keys = sizes.keys;
                let past = Past { ended: sizes.ended, live: sizes.live, first_key: 1, keys };
                side.ground.past.push(past);
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
            Self::History => Side { name: "no history", ..side },
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
                past.push(Past { ended: 0, live: FEW, first_key: 1, keys: 1 });
                past.push(Past { ended: 0, live: sizes.many, first_key: 2, keys: 1 });
            }
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
