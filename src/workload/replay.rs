//! A cluster trace, replayed through real reservations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};
use tokio::sync::SetOnce;
use uuid::Uuid;

use crate::config::Config;
use crate::error::Result;
use crate::handles::Handles;
use crate::model::{Heartbeat, Keypair, ResourcePolicy, SessionType};
use crate::workload::manager::{Manager, Wish};
use crate::workload::progress::Progress;
use crate::workload::summary::Summary;
use crate::workload::trace::{Node, Pod};
use crate::workload::view::View;
use crate::workload::{Crew, end};

/// After how many arrivals a manager looks at the agents anew: others release there, too.
const LOOK_EVERY: usize = 50;

/// How a trace is to be replayed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) managers: usize,
    /// Over how many access keys the tasks are spread.
    pub(crate) keys: u32,
    /// Sessions that a key may run at once; `None`: as many as there is room for.
    pub(crate) limit: Option<i64>,
    pub(crate) arrivals_only: bool,
    pub(crate) seed: u64,
}

/// What the managers share beside the database: the events, and who arrived.
struct Schedule {
    pods: Vec<Pod>,
    /// What each task is called in the database.
    session_ids: Vec<Uuid>,
    keys: u32,
    arrivals_only: bool,
    events: Vec<Event>,
    next: AtomicUsize,
    /// Whether the task was admitted, once that is known: a departure waits for it.
    admitted: Vec<SetOnce<bool>>,
}

/// Sorted by time, then by kind: at the same moment, who leaves makes room for who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    time: u64,
    pub(super) kind: Kind,
    pub(super) pod: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Departure,
    Arrival,
    /// The departure of a task that came at the same moment.
    InstantDeparture,
}

/// Replays the trace on an empty database with the schema installed.
pub(crate) async fn run(
    config: &Config,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    options: Options,
    progress: &Progress,
) -> Result<Summary> {
    let mut crew = Crew::connect(config, options.managers).await?;
    register(config, crew.managers[0].handles(), &nodes, options).await?;
    let view = View::new(nodes.into_iter().map(|node| (node.name, node.capacity)));
    let schedule = Arc::new(Schedule::new(pods, options));
    let followed = Arc::clone(&schedule);
    crew.watch.follow(move || followed.next.load(Ordering::Relaxed) as u64);

    let started = Instant::now();
    progress.start(schedule.events.len() as u64);
    let tasks: Vec<_> = crew
        .managers
        .iter()
        .map(|manager| replay(Arc::clone(&schedule), manager.clone(), view.clone()))
        .collect();
    let left = crew.work(tasks, progress).await?.into_iter().flatten().collect::<Vec<_>>();
    let worked = started.elapsed();
    progress.finish();

    crew.watch.audit().await?;
    let end = end::release_all(&mut crew, &left).await?;
    Ok(Summary::of(&crew, worked, Some(end)))
}

/// Every node as an agent and every key, in one transaction.
pub(super) async fn register(
    config: &Config,
    handles: &Handles,
    nodes: &[Node],
    options: Options,
) -> Result<()> {
    let mut client = config.connect().await?;
    let transaction = client.transaction().await?;
    let (tracker, agents) =
        (handles.tracker().within(&transaction), handles.agents().within(&transaction));
    let policy =
        ResourcePolicy { max_concurrent_sessions: options.limit, ..ResourcePolicy::new("trace") };
    tracker.put_resource_policy(&policy).await?;
    for number in 0..options.keys {
        let key = key_name(number);
        tracker.put_keypair(&Keypair::new(&*key, &*key, "trace")).await?;
    }
    for node in nodes {
        let slots = Some(node.capacity.slots());
        let heartbeat = Heartbeat { available_slots: slots, ..Heartbeat::new(&*node.name) };
        agents.put_agent(&heartbeat).await?;
    }
    transaction.commit().await?;
    Ok(())
}

fn key_name(number: u32) -> String {
    format!("key-{number:03}")
}

/// The trace has no owners: a key is derived from the hash of the task's name.
pub(super) fn key_of(pod: &Pod, keys: u32) -> String {
    let hash = Sha256::digest(pod.name.as_bytes());
    let number = hash.iter().take(4).fold(0, |number: u32, byte| number << 8 | u32::from(*byte));
    key_name(number % keys)
}

impl Schedule {
    fn new(pods: Vec<Pod>, options: Options) -> Self {
        Self {
            session_ids: session_ids(&pods, options.seed),
            keys: options.keys,
            arrivals_only: options.arrivals_only,
            events: events(&pods, options.arrivals_only),
            next: AtomicUsize::new(0),
            admitted: pods.iter().map(|_| SetOnce::new()).collect(),
            pods,
        }
    }

    fn wish(&self, pod: usize) -> Wish {
        Wish {
            session_id: self.session_ids[pod],
            access_key: key_of(&self.pods[pod], self.keys),
            session_type: SessionType::Batch,
            project: None,
            kernels: vec![self.pods[pod].demand],
        }
    }
}

/// An id for each task, the same for the same seed.
pub(super) fn session_ids(pods: &[Pod], seed: u64) -> Vec<Uuid> {
    let mut rng = StdRng::seed_from_u64(seed);
    pods.iter().map(|_| uuid::Builder::from_random_bytes(rng.random()).into_uuid()).collect()
}

/// Arrivals and departures in the order of the trace's clock.
pub(super) fn events(pods: &[Pod], arrivals_only: bool) -> Vec<Event> {
    let arrival = |(pod, of): (usize, &Pod)| Event { time: of.arrival, kind: Kind::Arrival, pod };
    let departure = |(pod, of): (usize, &Pod)| {
        let time = of.departure?;
        let instant = time == of.arrival;
        let kind = if instant { Kind::InstantDeparture } else { Kind::Departure };
        Some(Event { time, kind, pod })
    };
    let mut events: Vec<_> = pods.iter().enumerate().map(arrival).collect();
    if !arrivals_only {
        events.extend(pods.iter().enumerate().filter_map(departure));
    }
    events.sort_unstable();
    events
}

/// One manager: takes the next event, whichever it is, until there is none. Events begin in the
/// order of the clock, and at most as many as there are managers are under way at once. Returns
/// the sessions that it placed and that do not depart.
async fn replay(schedule: Arc<Schedule>, manager: Manager, mut view: View) -> Result<Vec<Uuid>> {
    let mut staying = Vec::new();
    let mut arrivals = 0;
    loop {
        let next = schedule.next.fetch_add(1, Ordering::Relaxed);
        let Some(Event { kind, pod, .. }) = schedule.events.get(next).copied() else { break };
        if kind == Kind::Arrival {
            arrivals += 1;
            if arrivals % LOOK_EVERY == 0 {
                manager.look(&mut view).await?;
            }
            let live = manager.place(&mut view, &schedule.wish(pod)).await?;
            let stays = schedule.arrivals_only || schedule.pods[pod].departure.is_none();
            staying.extend(live.as_ref().filter(|_| stays).map(|live| live.session_id));
            // Nobody else decides about this task.
            let _ = schedule.admitted[pod].set(live.is_some());
        } else if *schedule.admitted[pod].wait().await {
            manager.release(schedule.session_ids[pod]).await?;
        }
    }
    Ok(staying)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::view::Demand;

    fn pod(name: &str, arrival: u64, departure: Option<u64>) -> Pod {
        Pod { name: name.to_owned(), demand: Demand::default(), arrival, departure }
    }

    #[test]
    fn who_leaves_makes_room_for_who_comes() {
        let pods = [pod("a", 5, Some(9)), pod("b", 9, None), pod("c", 9, Some(9))];
        let order = |arrivals_only| -> Vec<_> {
            events(&pods, arrivals_only).iter().map(|event| (event.pod, event.kind)).collect()
        };
        let (arrive, leave, vanish) = (Kind::Arrival, Kind::Departure, Kind::InstantDeparture);
        assert_eq!(order(false), [(0, arrive), (0, leave), (1, arrive), (2, arrive), (2, vanish)]);
        assert_eq!(order(true), [(0, arrive), (1, arrive), (2, arrive)]);
    }

    #[test]
    fn a_task_always_has_the_same_key() {
        let pod = pod("openb-pod-0000", 0, None);
        assert_eq!(key_of(&pod, 50), key_of(&pod, 50));
        assert_eq!(key_of(&pod, 1), "key-000");
    }
}
