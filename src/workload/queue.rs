//! A cluster trace, sent through the queue: whoever arrives waits, and managers tick.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::{SetOnce, watch};
use uuid::Uuid;

use crate::config::Config;
use crate::error::Result;
use crate::model::{AgentOccupancy, SessionType};
use crate::scheduling::{CancelOutcome, QueueCode, Scheduling, Selector, SessionRequest, Tick};
use crate::workload::manager::Manager;
use crate::workload::progress::Progress;
use crate::workload::replay::{Event, Kind, Options, events, key_of, register, session_ids};
use crate::workload::trace::{Node, Pod};
use crate::workload::view::Demand;
use crate::workload::watch::rate;
use crate::workload::{Crew, amount, end};

/// The most that one tick looks at.
const ALL: i32 = 10_000;
/// How many arrivals a manager takes at once where nobody departs. Whoever enqueues for a key that a
/// tick looks at waits for the tick.
const TAKERS: usize = 8;
/// The slot of the trace's GPUs.
const GPU: &str = "cuda.shares";

/// What became of a trace that went through the queue. Every task is in one of the counts.
#[derive(Debug, Serialize)]
pub(crate) struct Passage {
    pub(crate) selector: String,
    pub(crate) arrivals_only: bool,
    pub(crate) managers: usize,
    /// Tasks of the trace.
    pub(crate) tasks: usize,
    /// Tasks that a tick placed.
    pub(crate) placed: u64,
    /// Tasks that still wait, by what is in their way.
    pub(crate) waiting: BTreeMap<String, u64>,
    /// Tasks whose time was over while they waited, by what was in their way.
    pub(crate) gave_up: BTreeMap<String, u64>,
    /// Tasks that were not even allowed to wait.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Tasks that no node could hold even if it were empty, by the slot of which none has enough.
    pub(crate) never_fit: BTreeMap<String, u64>,
    /// The share of all GPUs that is allotted at the end, in percent, and the most that was seen.
    pub(crate) gpus_at_end: f64,
    pub(crate) gpus_at_peak: f64,
    pub(crate) ticks: u64,
    pub(crate) ticks_per_second: f64,
    /// How long the managers worked.
    pub(crate) seconds: f64,
    pub(crate) audits: u64,
    /// Every number that was seen above its limit, every finding of an audit, every task that is
    /// not accounted for.
    pub(crate) broken: Vec<String>,
}

/// Sends the trace through the queue of an empty database with the schema installed.
pub(crate) async fn run(
    config: &Config,
    nodes: &[Node],
    pods: &[Pod],
    options: Options,
    selector: &Selector,
    progress: &Progress,
) -> Result<Passage> {
    let takers = if options.arrivals_only { TAKERS } else { 1 };
    let mut crew = Crew::connect_with(config, options.managers, takers + 1).await?;
    register(config, crew.managers[0].handles(), nodes, options).await?;
    let course = Arc::new(Course::new(pods, options, selector));
    let followed = Arc::clone(&course);
    crew.watch.follow(move || followed.done.load(Ordering::Relaxed) as u64);

    let started = Instant::now();
    progress.start(course.events.len() as u64);
    let duties = [&[Duty::Tick][..], &vec![Duty::TakeEvents; takers]].concat();
    let each = |manager: &Manager| duties.iter().map(|duty| (*duty, manager.clone())).collect();
    let tasks: Vec<_> = crew
        .managers
        .iter()
        .flat_map(|manager| -> Vec<_> { each(manager) })
        .map(|(duty, manager)| manage(Arc::clone(&course), manager, duty))
        .collect();
    let ticks = crew.work(tasks, progress).await?.into_iter().sum();
    let worked = started.elapsed();
    progress.finish();

    let agents = crew.managers[0].handles().agents().agent_occupancy().await?;
    crew.watch.audit().await?;
    let live = course.live();
    end::release_all(&mut crew, &live).await?;
    let peaks = crew.watch.slot_peaks();
    let mut passage = Passage {
        selector: selector.to_string(),
        arrivals_only: options.arrivals_only,
        managers: options.managers,
        tasks: pods.len(),
        placed: 0,
        waiting: BTreeMap::new(),
        gave_up: BTreeMap::new(),
        rejected: BTreeMap::new(),
        never_fit: never_fit(nodes, pods),
        gpus_at_end: gpu_share(&agents),
        gpus_at_peak: peaks.iter().find(|peak| peak.slot == GPU).map_or(0.0, |peak| peak.percent),
        ticks,
        ticks_per_second: (rate(ticks, worked) * 10.0).round() / 10.0,
        seconds: (worked.as_secs_f64() * 10.0).round() / 10.0,
        audits: crew.watch.audits,
        broken: crew.watch.broken.clone(),
    };
    passage.count(&course);
    Ok(passage)
}

/// Where a task is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It is still to come.
    #[default]
    Coming,
    /// It waits, and no tick has looked at it.
    Enqueued,
    Waiting(Option<QueueCode>),
    Placed,
    /// It was placed, and has gone.
    Departed,
    /// It left without having been placed.
    GaveUp(Option<QueueCode>),
    Rejected(Option<QueueCode>),
}

/// What the managers share beside the database: the events, and where each task is.
struct Course {
    pods: Vec<Pod>,
    session_ids: Vec<Uuid>,
    numbers: HashMap<Uuid, usize>,
    options: Options,
    selector: Selector,
    events: Vec<Event>,
    next: AtomicUsize,
    done: AtomicUsize,
    over: AtomicBool,
    stages: Mutex<Vec<Stage>>,
    /// How many ticks said that they placed the task.
    placements: Vec<AtomicUsize>,
    /// Whether a tick has looked at the task: its departure waits for that.
    looked_at: Vec<SetOnce<()>>,
    /// How often there was something new to place, or more room.
    changes: watch::Sender<u64>,
    broken: Mutex<Vec<String>>,
}

impl Course {
    fn new(pods: &[Pod], options: Options, selector: &Selector) -> Self {
        let session_ids = session_ids(pods, options.seed);
        Self {
            numbers: session_ids.iter().enumerate().map(|(pod, id)| (*id, pod)).collect(),
            session_ids,
            events: events(pods, options.arrivals_only),
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            stages: Mutex::new(vec![Stage::default(); pods.len()]),
            placements: pods.iter().map(|_| AtomicUsize::new(0)).collect(),
            looked_at: pods.iter().map(|_| SetOnce::new()).collect(),
            changes: watch::Sender::new(0),
            broken: Mutex::default(),
            pods: pods.to_vec(),
            selector: selector.clone(),
            options,
        }
    }

    fn stages(&self) -> MutexGuard<'_, Vec<Stage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn complain(&self, complaint: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
    }

    fn request(&self, pod: usize) -> SessionRequest {
        let task = &self.pods[pod];
        SessionRequest::new(self.session_ids[pod], key_of(task, self.options.keys))
            .with_type(SessionType::Batch)
            .with_kernel(task.demand.slots())
    }

    /// A tick as managers make it while there is still something to come; in the end one over all,
    /// in which those that were tried take turns.
    fn tick(&self, over: bool) -> Tick {
        let usual = Tick { selector: self.selector.clone(), ..Tick::default() };
        match (over, self.options.arrivals_only) {
            (true, _) => Tick { max_sessions: ALL, tries: 1, ..usual },
            // A departure waits until a tick has looked at its task, so all are looked at.
            (false, false) => Tick { max_sessions: ALL, ..usual },
            (false, true) => usual,
        }
    }

    /// Records what a tick answered. Returns how many it placed.
    fn note(&self, answers: &[Scheduling]) -> usize {
        let mut placed = 0;
        let mut stages = self.stages();
        for answer in answers {
            let Some(&pod) = self.numbers.get(&answer.session_id) else {
                self.complain(format!("a tick answered for {}, nobody's", answer.session_id));
                continue;
            };
            if answer.is_placed() {
                placed += 1;
                self.placements[pod].fetch_add(1, Ordering::Relaxed);
                // It may have gone before its tick was answered.
                if stages[pod] != Stage::Departed {
                    stages[pod] = Stage::Placed;
                }
            } else if matches!(stages[pod], Stage::Enqueued | Stage::Waiting(_)) {
                // Another tick may have placed it since.
                stages[pod] = Stage::Waiting(answer.code.clone());
            }
            // Whether it was set before does not matter.
            let _ = self.looked_at[pod].set(());
        }
        placed
    }

    /// How many wait.
    fn waiting(&self) -> usize {
        let waits = |stage: &&Stage| matches!(stage, Stage::Enqueued | Stage::Waiting(_));
        self.stages().iter().filter(waits).count()
    }

    /// The sessions that were placed and have not departed.
    fn live(&self) -> Vec<Uuid> {
        let stages = self.stages();
        let all = self.session_ids.iter().zip(stages.iter());
        all.filter(|(_, stage)| **stage == Stage::Placed).map(|(id, _)| *id).collect()
    }
}

/// What a manager does at once.
#[derive(Clone, Copy, Debug)]
enum Duty {
    Tick,
    TakeEvents,
}

/// One of the duties of a manager. Returns how often it ticked.
async fn manage(course: Arc<Course>, manager: Manager, duty: Duty) -> Result<u64> {
    match duty {
        Duty::Tick => tick(&course, &manager).await,
        Duty::TakeEvents => take_events(&course, &manager).await.map(|()| 0),
    }
}

/// Takes the next event, whichever it is, until there is none. Events begin in the order of the
/// clock.
async fn take_events(course: &Course, manager: &Manager) -> Result<()> {
    loop {
        let next = course.next.fetch_add(1, Ordering::Relaxed);
        let Some(Event { kind, pod, .. }) = course.events.get(next).copied() else { return Ok(()) };
        if kind == Kind::Arrival {
            arrive(course, manager, pod).await?;
        } else {
            course.looked_at[pod].wait().await;
            leave(course, manager, pod).await?;
        }
        if course.done.fetch_add(1, Ordering::Relaxed) + 1 == course.events.len() {
            course.over.store(true, Ordering::Release);
        }
        course.changed();
    }
}

async fn arrive(course: &Course, manager: &Manager, pod: usize) -> Result<()> {
    // A tick may place it before its enqueuing is answered.
    course.stages()[pod] = Stage::Enqueued;
    let answer = manager.enqueue(&course.request(pod)).await?;
    if !answer.is_accepted() {
        course.stages()[pod] = Stage::Rejected(answer.code);
        // No tick will ever look at it; its departure need not wait.
        let _ = course.looked_at[pod].set(());
    }
    Ok(())
}

/// Ends a session that was placed, and takes one that was not out of the queue.
async fn leave(course: &Course, manager: &Manager, pod: usize) -> Result<()> {
    let session_id = course.session_ids[pod];
    if matches!(course.stages()[pod], Stage::Rejected(_)) {
        return Ok(());
    }
    let outcome = manager.cancel(session_id).await?.outcome;
    if outcome == CancelOutcome::Placed {
        manager.release(session_id).await?;
    }
    let mut stages = course.stages();
    stages[pod] = match (&outcome, &stages[pod]) {
        (CancelOutcome::Placed, _) => Stage::Departed,
        (_, Stage::Waiting(code)) => Stage::GaveUp(code.clone()),
        _ => Stage::GaveUp(None),
    };
    Ok(())
}

/// Ticks whenever something has changed, until all events are over and nobody fits any more.
async fn tick(course: &Course, manager: &Manager) -> Result<u64> {
    let mut changes = course.changes.subscribe();
    let mut ticks = 0;
    let mut in_vain = 0;
    loop {
        let over = course.over.load(Ordering::Acquire);
        changes.borrow_and_update();
        let answers = manager.tick(&course.tick(over)).await?;
        ticks += 1;
        let placed = course.note(&answers);
        manager.tally().placed(placed);
        if placed > 0 {
            in_vain = 0;
            continue;
        }
        if over {
            in_vain += answers.len();
            if in_vain >= course.waiting() {
                return Ok(ticks);
            }
        } else if changes.changed().await.is_err() {
            return Ok(ticks);
        }
    }
}

impl Passage {
    /// Counts every task once, and says so where one is not accounted for.
    fn count(&mut self, course: &Course) {
        let name = |code: &Option<QueueCode>| {
            code.as_ref().map_or_else(|| "not tried".to_owned(), ToString::to_string)
        };
        let stages = course.stages();
        for ((stage, pod), placements) in stages.iter().zip(&course.pods).zip(&course.placements) {
            let placements = placements.load(Ordering::Relaxed);
            let expected = usize::from(matches!(stage, Stage::Placed | Stage::Departed));
            if placements != expected {
                let complaint = format!("task {} was placed {placements} times", pod.name);
                self.broken.push(format!("{complaint}, not {expected}"));
            }
            match stage {
                Stage::Placed | Stage::Departed => self.placed += 1,
                Stage::Enqueued => *self.waiting.entry(name(&None)).or_default() += 1,
                Stage::Waiting(code) => *self.waiting.entry(name(code)).or_default() += 1,
                Stage::GaveUp(code) => *self.gave_up.entry(name(code)).or_default() += 1,
                Stage::Rejected(code) => *self.rejected.entry(name(code)).or_default() += 1,
                Stage::Coming => self.broken.push(format!("task {} never came", pod.name)),
            }
        }
        let complaints = course.broken.lock().unwrap_or_else(PoisonError::into_inner);
        self.broken.extend(complaints.iter().cloned());
    }
}

/// Tasks that are too large for every node, by the first slot of which none has enough, or
/// `together` where each slot alone would fit somewhere.
fn never_fit(nodes: &[Node], pods: &[Pod]) -> BTreeMap<String, u64> {
    let slots = |of: Demand| [("cpu", of.cpu_milli), ("mem", of.mem_mib), (GPU, of.gpu_milli)];
    let has = |node: &Node, asked: Demand| {
        slots(node.capacity).iter().zip(slots(asked)).all(|(has, asked)| has.1 >= asked.1)
    };
    let mut never = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !nodes.iter().any(|node| has(node, pod.demand))) {
        let short = slots(pod.demand).into_iter().enumerate().find(|(slot, (_, asked))| {
            nodes.iter().all(|node| slots(node.capacity)[*slot].1 < *asked)
        });
        let slot = short.map_or("together", |(_, (name, _))| name);
        *never.entry(slot.to_owned()).or_default() += 1;
    }
    never
}

/// The share of the GPUs of all agents that is occupied, in percent.
fn gpu_share(agents: &[AgentOccupancy]) -> f64 {
    let units = |amount: Option<&str>| amount.and_then(amount::parse).unwrap_or_default();
    let (mut occupied, mut available) = (0, 0);
    for agent in agents {
        occupied += units(agent.occupied_slots.get(GPU));
        available += units(agent.available_slots.get(GPU));
    }
    crate::workload::summary::SlotPeak::new(GPU, occupied, available).percent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(cpu_milli: u64, mem_mib: u64, gpu_milli: u64) -> Demand {
        Demand { cpu_milli, mem_mib, gpu_milli }
    }

    #[test]
    fn who_never_fits_is_told_by_the_slot_that_is_short() {
        let node = |name: &str, capacity| Node { name: name.to_owned(), capacity };
        let nodes =
            [node("cpus", demand(64_000, 1024, 0)), node("gpus", demand(8_000, 1024, 2_000))];
        let pod = |demand| Pod { name: String::new(), demand, arrival: 0, departure: None };
        let pods = [
            pod(demand(64_000, 1024, 0)),
            pod(demand(65_000, 1, 9_000)),
            pod(demand(1, 1025, 0)),
            pod(demand(1, 1, 2_001)),
            pod(demand(64_000, 1, 2_000)),
        ];
        let expected = [("cpu", 1), ("cuda.shares", 1), ("mem", 1), ("together", 1)];
        let expected: BTreeMap<_, _> = expected.map(|(slot, n)| (slot.to_owned(), n)).into();
        assert_eq!(never_fit(&nodes, &pods), expected);
    }
}
