//! What a client asks for, again and again.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::{Builder, Uuid};

use crate::model::Reservation;
use crate::slots::ResourceSlots;

/// A session to reserve, with what the database would have to look up and to parse.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) reservation: Reservation,
    pub(super) kernel_id: Uuid,
    pub(super) agent_id: String,
    pub(super) user_id: String,
    pub(super) domain: Option<&'static str>,
}

/// The same slots as a request would have them, and as they are stored.
const REQUESTED: [(&str, &str); 3] = [("cpu", "1"), ("cuda.shares", "0.5"), ("mem", "1g")];
const STORED: [(&str, &str); 3] = [("cpu", "1"), ("cuda.shares", "0.5"), ("mem", "1073741824")];

/// What each session occupies, parsed.
pub(super) fn slots() -> ResourceSlots {
    STORED.into_iter().collect()
}

/// The keys and agents that orders are drawn from.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) first_key: u32,
    pub(super) keys: u32,
    pub(super) agents: u32,
    /// Whether a project and the domain are charged.
    pub(super) quotas: bool,
}

/// The group of every agent.
pub(super) const GROUP: &str = "default";

/// A key that has no room.
const FULL: (&str, &str) = ("AK-full", "user-full");

/// An endless supply of orders, the same for the same seed.
#[derive(Debug)]
pub(super) struct Orders {
    choice: Choice,
    rng: StdRng,
}

impl Orders {
    pub(super) fn new(choice: Choice, seed: u64) -> Self {
        Self { choice, rng: StdRng::seed_from_u64(seed) }
    }

    /// A session of one of the keys on one of the agents.
    pub(super) fn draw(&mut self) -> Order {
        let Choice { first_key, keys, quotas, .. } = self.choice;
        let key = self.rng.random_range(first_key..first_key + keys);
        let mut order = self.of(&format!("AK-{key}"), format!("user-{}", key / 4));
        if quotas {
            let project = format!("project-{}", self.rng.random_range(0..50));
            order.reservation = order.reservation.with_project(project);
            order.domain = Some("domain");
        }
        order
    }

    /// A session of a key that has no room.
    pub(super) fn draw_full(&mut self) -> Order {
        self.of(FULL.0, FULL.1.to_owned())
    }

    /// Sessions of which every `nth`, if given, has no room.
    pub(super) fn draw_batch(&mut self, length: usize, nth_full: Option<usize>) -> Vec<Order> {
        (1..=length)
            .map(|position| match nth_full {
                Some(nth) if position % nth == 0 => self.draw_full(),
                _ => self.draw(),
            })
            .collect()
    }

    fn of(&mut self, access_key: &str, user_id: String) -> Order {
        let agent_id = format!("i-{}", self.rng.random_range(1..=self.choice.agents));
        let (session_id, kernel_id) = (self.id(), self.id());
        let slots = REQUESTED.into_iter().collect();
        let reservation =
            Reservation::new(session_id, access_key).with_kernel_id(kernel_id, &agent_id, slots);
        Order { reservation, kernel_id, agent_id, user_id, domain: None }
    }

    fn id(&mut self) -> Uuid {
        Builder::from_random_bytes(self.rng.random()).into_uuid()
    }
}

impl Order {
    pub(super) fn is_full(&self) -> bool {
        self.reservation.access_key == FULL.0
    }
}
