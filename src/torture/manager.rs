//! A manager process: reserves, holds and ends sessions until its standard input ends.
//!
//! It writes its history to standard output, each line before the call is sent or after the answer
//! arrived, so that whoever kills it knows what it was about to do.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::call::{Call, Caller, Client, Event, Said};
use super::{GRACE, TTL, place};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::handles::Handles;
use crate::lease::LeaseOptions;
use crate::model::Reservation;
use crate::retry::RetryPolicy;

/// What a manager is told in the first line of its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Its name on the server: who it is, and which start of it this is.
    pub(super) name: String,
    /// Its name as a holder, the same for all starts.
    pub(super) manager: String,
    pub(super) database: String,
    pub(super) workers: usize,
    pub(super) seed: u64,
}

/// The most sessions that one worker holds.
const HOLDS: usize = 2;
/// How often a call is repeated before the worker leaves its outcome open and goes on.
const PATIENCE: usize = 20;
const LONGEST_REST_MS: u64 = 12;

/// Runs this process as a manager.
pub(crate) async fn run() -> Result<()> {
    let input = io::stdin().as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd);
    let mut input = BufReader::new(input.map_err(not_for_people)?).lines();
    let line = input.next_line().await.map_err(not_for_people)?.unwrap_or_default();
    let order: Order = serde_json::from_str(&line).map_err(not_for_people)?;

    let stopping = Arc::new(AtomicBool::new(false));
    let mut crew = JoinSet::new();
    let told = Arc::clone(&stopping);
    tokio::spawn(async move {
        while let Ok(Some(_)) = input.next_line().await {}
        told.store(true, Ordering::Relaxed);
    });
    let Some(clients) = Clients::connect(&order, &stopping).await? else { return Ok(()) };
    let caller = Caller::new(Arc::new(write));
    for number in 0..order.workers {
        let worker = Worker {
            clients: clients.clone(),
            caller: caller.clone(),
            rng: StdRng::seed_from_u64(order.seed.wrapping_add(number as u64)),
            held: Vec::new(),
            stopping: Arc::clone(&stopping),
        };
        crew.spawn(worker.work());
    }
    while crew.join_next().await.is_some() {}
    Ok(())
}

fn not_for_people(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Io, "a manager of `torture` is not for people").caused_by(error)
}

/// One write a line, so that a kill leaves none in halves that matters.
fn write(event: &Event) {
    let Ok(mut line) = serde_json::to_vec(event) else { return };
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    if stdout.write_all(&line).and_then(|()| stdout.flush()).is_err() {
        // Nobody keeps the history any more: nothing may happen that it does not know.
        std::process::exit(0);
    }
}

/// The library's client twice: one that repeats a call by itself, and one that shows each attempt.
#[derive(Clone)]
struct Clients {
    patient: Client,
    once: Client,
}

impl Clients {
    /// Insists until the server answers; `None` if it is told to stop before.
    async fn connect(order: &Order, stopping: &AtomicBool) -> Result<Option<Self>> {
        let config: Config = order.database.parse()?;
        let lease = LeaseOptions {
            // Each start fences the one before.
            name: Some(order.manager.clone()),
            ttl: TTL,
            grace: GRACE,
            ..LeaseOptions::default()
        };
        let config = config
            .with_application_name(&order.name)
            .with_pool_size(order.workers)
            .with_connect_timeout(Duration::from_secs(5))
            .with_lease(lease);
        let once = config.clone().with_retry(RetryPolicy::never()).without_lease();
        while !stopping.load(Ordering::Relaxed) {
            if let (Ok(patient), Ok(once)) =
                (Handles::connect(&config).await, Handles::connect(&once).await)
                && let Some(lease) = patient.lease()
                && let Ok(holder) = lease.register().await
            {
                let patient = Client { tracker: patient.tracker().clone(), patient: true };
                let tracker = once.tracker().clone().held_by(holder);
                return Ok(Some(Self { patient, once: Client { tracker, patient: false } }));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(None)
    }
}

/// Does one thing after the other.
struct Worker {
    clients: Clients,
    caller: Caller,
    rng: StdRng,
    held: Vec<Reservation>,
    stopping: Arc<AtomicBool>,
}

impl Worker {
    async fn work(mut self) {
        while !self.stopping.load(Ordering::Relaxed) {
            match self.rng.random_range(0..10) {
                0..=3 if self.held.len() < HOLDS => self.reserve().await,
                4 if self.held.is_empty() => self.reserve_batch().await,
                5 if !self.held.is_empty() => self.settle().await,
                6..=9 if !self.held.is_empty() => self.end().await,
                _ => {}
            }
            let rest = self.rng.random_range(0..=LONGEST_REST_MS);
            tokio::time::sleep(Duration::from_millis(rest)).await;
        }
    }

    async fn reserve(&mut self) {
        let reservation = place::wish(&mut self.rng);
        let call = Call::Reserve(Box::new(reservation.clone()));
        let admitted = if self.rng.random_bool(0.1) {
            // Twice at once, as two who took up the same job would.
            let (one, two) = (
                self.caller.call(&self.clients.patient, &call),
                self.caller.call(&self.clients.once, &call),
            );
            let (one, two) = tokio::join!(one, two);
            [one.ok(), two.ok()]
        } else {
            [self.insist(&call).await, None]
        };
        // Without an answer it may hold something: it is to be ended like any other.
        let rejected = admitted.iter().flatten().flatten().any(|said| said.outcome == "rejected");
        if !rejected {
            self.confirm(reservation.session_id).await;
            self.held.push(reservation);
        }
    }

    /// Most are confirmed; some stay in the manager's hands until they end.
    async fn confirm(&mut self, session: Uuid) {
        if self.rng.random_bool(0.5) {
            self.insist(&Call::Confirm(session)).await;
        }
    }

    async fn reserve_batch(&mut self) {
        let wishes: Vec<_> =
            (0..self.rng.random_range(2..=4)).map(|_| place::wish(&mut self.rng)).collect();
        let said = self.insist(&Call::ReserveBatch(wishes.clone())).await.unwrap_or_default();
        let rejected = |i: usize| said.get(i).is_some_and(|said| said.outcome == "rejected");
        let held = wishes.into_iter().enumerate().filter(|(i, _)| !rejected(*i));
        self.held.extend(held.map(|(_, wish)| wish));
    }

    async fn settle(&mut self) {
        let held = &self.held[self.rng.random_range(0..self.held.len())];
        let Some(kernel) = held.kernels[0].kernel_id else { return };
        let call = Call::Settle { kernel, session: held.session_id, slots: place::settled() };
        self.insist(&call).await;
    }

    /// Ends a session, in one of the ways there are.
    async fn end(&mut self) {
        if self.held.len() > 1 && self.rng.random_bool(0.2) {
            let ids = self.held.drain(..).map(|held| held.session_id).collect();
            self.insist(&Call::ReleaseBatch(ids)).await;
            return;
        }
        let held = self.held.swap_remove(self.rng.random_range(0..self.held.len()));
        let session = held.session_id;
        match self.rng.random_range(0..4) {
            0 => self.release_kernels(&held).await,
            1 => {
                self.insist(&Call::Terminate(session)).await;
                self.release_kernels(&held).await;
            }
            2 => {
                self.insist(&Call::Terminate(session)).await;
                self.insist(&Call::Release(session)).await;
            }
            _ => {
                self.insist(&Call::Release(session)).await;
            }
        }
    }

    async fn release_kernels(&mut self, held: &Reservation) {
        let session = held.session_id;
        let kernels: Vec<Uuid> =
            held.kernels.iter().filter_map(|kernel| kernel.kernel_id).collect();
        for kernel in kernels {
            self.insist(&Call::ReleaseKernel { kernel, session }).await;
        }
    }

    /// Repeats a call until it is answered, and now and then once more.
    async fn insist(&mut self, call: &Call) -> Option<Vec<Said>> {
        let mut client =
            if self.rng.random_bool(0.5) { &self.clients.once } else { &self.clients.patient };
        for _ in 0..PATIENCE {
            match self.caller.call(client, call).await {
                Ok(said) => {
                    if self.rng.random_bool(0.1) {
                        let _ = self.caller.call(&self.clients.patient, call).await;
                    }
                    return Some(said);
                }
                Err(error) if error.code().is_some() => return None,
                Err(_) if self.stopping.load(Ordering::Relaxed) => return None,
                Err(_) => client = &self.clients.patient,
            }
        }
        None
    }
}
