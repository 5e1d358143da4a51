//! A small platform at work: keys of three policies, quotas of three kinds, two resource groups.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::config::Config;
use crate::error::Result;
use crate::handles::Handles;
use crate::model::{
    AdmissionOutcome, Heartbeat, Keypair, Quota, ResourcePolicy, Scope, SessionType,
};
use crate::slots::ResourceSlots;
use crate::workload::manager::{Live, Manager, Wish};
use crate::workload::progress::Progress;
use crate::workload::summary::Summary;
use crate::workload::view::{Demand, Fit, View};
use crate::workload::{Crew, end};

/// How the demo is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) managers: usize,
    pub(crate) work_for: Duration,
    pub(crate) seed: u64,
    /// Leave the last sessions running, to look at.
    pub(crate) leave_sessions: bool,
}

const DOMAIN: &str = "lab";

/// Access key, user, policy.
const KEYS: [(&str, &str, &str); 5] = [
    ("AK-ANN", "ann", "student"),
    ("AK-BOB", "bob", "student"),
    ("AK-CAROL-1", "carol", "researcher"),
    ("AK-CAROL-2", "carol", "researcher"),
    ("AK-SERVICE", "service", "production"),
];

/// Resource group, number of agents, capacity of each.
const GROUPS: [(&str, usize, Demand); 2] = [
    ("gpu", 6, Demand { cpu_milli: 32_000, mem_mib: 131_072, gpu_milli: 4_000 }),
    ("cpu", 4, Demand { cpu_milli: 48_000, mem_mib: 131_072, gpu_milli: 0 }),
];

/// Sessions that a manager strives to have running.
const SESSIONS_PER_MANAGER: usize = 10;

/// Runs the demo on an empty database with the schema installed.
pub(crate) async fn run(config: &Config, options: Options, progress: &Progress) -> Result<Summary> {
    let mut crew = Crew::connect(config, options.managers).await?;
    register(crew.managers[0].handles()).await?;
    progress.say(&format!(
        "{} managers place sessions of {} keys on {} agents for {} s, seed {}",
        options.managers,
        KEYS.len(),
        GROUPS.iter().map(|(_, agents, _)| agents).sum::<usize>(),
        options.work_for.as_secs(),
        options.seed
    ));
    let started = Instant::now();
    let millis = move || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    progress.start(u64::try_from(options.work_for.as_millis()).unwrap_or(u64::MAX));
    crew.watch.follow(millis);
    let workers: Vec<_> = (0..options.managers)
        .map(|number| {
            let rival = &crew.managers[(number + 1) % options.managers];
            let seed = options.seed.wrapping_add(number as u64);
            Worker::new(crew.managers[number].clone(), rival.clone(), seed)
        })
        .collect();
    let tasks = workers.into_iter().map(|worker| worker.run(started + options.work_for));
    let left = crew.work(tasks, progress).await?;
    let worked = started.elapsed();
    progress.finish();

    crew.watch.audit().await?;
    if options.leave_sessions {
        return Ok(Summary::of(&crew, worked, None));
    }
    let left: Vec<_> = left.into_iter().flatten().map(|live| live.session_id).collect();
    let end = end::release_all(&mut crew, &left).await?;
    Ok(Summary::of(&crew, worked, Some(end)))
}

/// Policies, keys, quotas and agents.
async fn register(handles: &Handles) -> Result<()> {
    let tracker = handles.tracker();
    for policy in policies() {
        tracker.put_resource_policy(&policy).await?;
    }
    for (key, user, policy) in KEYS {
        let domain = Some(DOMAIN.to_owned());
        tracker.put_keypair(&Keypair { domain, ..Keypair::new(key, user, policy) }).await?;
    }
    for quota in quotas() {
        tracker.put_quota(&quota).await?;
    }
    for (group, agents, capacity) in GROUPS {
        for number in 1..=agents {
            let heartbeat = Heartbeat {
                available_slots: Some(capacity.slots()),
                resource_group: Some(group.to_owned()),
                ..Heartbeat::new(agent_id(group, number))
            };
            handles.agents().put_agent(&heartbeat).await?;
        }
    }
    Ok(())
}

fn policies() -> [ResourcePolicy; 3] {
    let total = ResourceSlots::new().with("cpu", 48).with("mem", "160g").with("cuda.shares", "6.5");
    [
        ResourcePolicy {
            max_concurrent_sessions: Some(3),
            max_concurrent_system_sessions: Some(1),
            max_kernels_per_session: Some(2),
            ..ResourcePolicy::new("student")
        },
        ResourcePolicy {
            max_concurrent_sessions: Some(8),
            max_concurrent_system_sessions: Some(1),
            total_resource_slots: Some(total),
            ..ResourcePolicy::new("researcher")
        },
        ResourcePolicy {
            max_concurrent_system_sessions: Some(2),
            ..ResourcePolicy::new("production")
        },
    ]
}

fn quotas() -> [Quota; 3] {
    let shares = ResourceSlots::new().with("cuda.shares", "7.25");
    let cores = ResourceSlots::new().with("cpu", 320);
    [
        Quota { max_concurrent_sessions: Some(10), ..Quota::new(Scope::User, "carol") },
        Quota { total_resource_slots: Some(shares), ..Quota::new(Scope::Project, "vision") },
        Quota { total_resource_slots: Some(cores), ..Quota::new(Scope::Domain, DOMAIN) },
    ]
}

fn agent_id(group: &str, number: usize) -> String {
    format!("{group}-{number:02}")
}

/// A manager's work: sessions come, and sessions end in every way there is.
struct Worker {
    manager: Manager,
    /// A manager that is sent the same reservation now and then.
    rival: Manager,
    rng: StdRng,
    /// One for each resource group, as a session stays in one.
    views: [View; GROUPS.len()],
    live: Vec<(usize, Live)>,
}

impl Worker {
    fn new(manager: Manager, rival: Manager, seed: u64) -> Self {
        let views = GROUPS.map(|(group, agents, capacity)| {
            View::new((1..=agents).map(|number| (agent_id(group, number), capacity)))
        });
        Self { manager, rival, rng: StdRng::seed_from_u64(seed), views, live: Vec::new() }
    }

    /// Works until the deadline, and returns the sessions that still run.
    async fn run(mut self, deadline: Instant) -> Result<Vec<Live>> {
        while Instant::now() < deadline {
            let begin = if self.live.len() < SESSIONS_PER_MANAGER { 0.75 } else { 0.4 };
            if self.live.is_empty() || self.rng.random_bool(begin) {
                self.begin().await?;
            } else {
                self.end().await?;
            }
        }
        Ok(self.live.into_iter().map(|(_, live)| live).collect())
    }

    async fn begin(&mut self) -> Result<()> {
        let group = self.rng.random_range(0..GROUPS.len());
        let wish = wish(&mut self.rng, GROUPS[group].0 == "gpu");
        let view = &mut self.views[group];
        let live = if self.rng.random_bool(0.1) {
            race(&self.manager, &self.rival, view, &wish).await?
        } else {
            self.manager.place(view, &wish).await?
        };
        self.live.extend(live.map(|live| (group, live)));
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        let (group, live) = self.live.swap_remove(self.rng.random_range(0..self.live.len()));
        match self.rng.random_range(0..10) {
            0 | 1 => self.end_kernel_by_kernel(&live).await?,
            2 => {
                // The agent allotted a little less than was asked for.
                if let (Some(kernel), Some((_, demand))) = (live.kernels.first(), live.held.first())
                {
                    let allotted = Demand { mem_mib: demand.mem_mib - 128, ..*demand };
                    self.manager.settle(*kernel, &allotted.slots()).await?;
                }
                self.manager.terminate(live.session_id).await?;
                self.end_kernel_by_kernel(&live).await?;
            }
            _ => self.manager.release(live.session_id).await?,
        }
        self.views[group].give_back(&live.held);
        Ok(())
    }

    async fn end_kernel_by_kernel(&self, live: &Live) -> Result<()> {
        for kernel in &live.kernels {
            self.manager.release_kernel(*kernel).await?;
        }
        Ok(())
    }
}

/// Two managers send the same reservation at the same moment.
async fn race(
    manager: &Manager,
    rival: &Manager,
    view: &mut View,
    wish: &Wish,
) -> Result<Option<Live>> {
    let (agents, _) = view.choose(&wish.kernels, Fit::Tight);
    let reservation = wish.on(view, &agents);
    let (ours, theirs) =
        tokio::try_join!(manager.reserve(&reservation), rival.reserve(&reservation))?;
    let tally = manager.tally();
    tally.raced([&ours, &theirs]);
    // Each may be the one that was first, and only then is it a second answer that repeats it.
    let (first, second) =
        if theirs.outcome == AdmissionOutcome::Admitted { (theirs, ours) } else { (ours, theirs) };
    tally.settle(&first);
    if second.outcome == AdmissionOutcome::AlreadyAdmitted {
        tally.settle(&second);
    }
    if first.is_admitted() {
        return Ok(Some(wish.admitted(view, &agents, first)));
    }
    if second.is_admitted() {
        return Ok(Some(wish.admitted(view, &agents, second)));
    }
    view.learn(&first.violations);
    Ok(None)
}

/// What somebody asks for next.
fn wish(rng: &mut StdRng, with_gpu: bool) -> Wish {
    let session_type = match rng.random_range(0..20) {
        0 => SessionType::System,
        1..=4 => SessionType::Inference,
        5..=9 => SessionType::Batch,
        _ => SessionType::Interactive,
    };
    let kernels = match rng.random_range(0..10) {
        _ if session_type == SessionType::System => 1,
        0 => 4,
        1 | 2 => 2,
        _ => 1,
    };
    let (access_key, ..) = KEYS[rng.random_range(0..KEYS.len())];
    Wish {
        session_id: uuid::Builder::from_random_bytes(rng.random()).into_uuid(),
        access_key: access_key.to_owned(),
        session_type,
        project: [Some("vision"), Some("speech"), None][rng.random_range(0..3)].map(str::to_owned),
        kernels: (0..kernels).map(|_| demand(rng, with_gpu)).collect(),
    }
}

fn demand(rng: &mut StdRng, with_gpu: bool) -> Demand {
    let mut pick = |from: &[u64]| from.choose(rng).copied().unwrap_or_default();
    Demand {
        cpu_milli: pick(&[500, 1_000, 2_000, 4_000, 8_000]),
        mem_mib: pick(&[1_024, 4_096, 8_192, 16_384]),
        gpu_milli: if with_gpu { pick(&[100, 250, 333, 460, 500, 1_000, 2_000]) } else { 0 },
    }
}
