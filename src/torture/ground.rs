//! Everything that a run consists of, and what faults and checks do with it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;
use uuid::Uuid;

use super::call::{self, Call, Caller, now};
use super::cluster::{self, Cluster, holds};
use super::crew::{Employer, Manager, News};
use super::disk;
use super::history::{History, Violation};
use super::ledger;
use super::model;
use super::place;
use super::sampler::Sampler;
use super::silence::Silence;
use super::wait::until;
use super::{GRACE, Options, TTL};
use crate::error::Result;
use crate::handles::Handles;
use crate::schema::Runner;
use crate::server::node::Yard;
use crate::workload::progress::Progress;
use crate::workload::watch::Watch;

/// How long managers may take to be back at work after a fault. Their client gives up after half
/// of it, and they insist.
const RECOVERY: Duration = Duration::from_secs(60);
/// Sessions that are released in one transaction.
const BATCH: usize = 200;
/// How much longer than promised it may take on a busy machine.
const SLACK: Duration = Duration::from_secs(4);
/// The harness itself, where it calls like a manager.
const OURSELVES: &str = "torture-0";

pub(super) struct Ground {
    pub(super) managers: Vec<Manager>,
    pub(super) rng: StdRng,
    pub(super) cluster: Cluster,
    pub(super) history: History,
    /// Calls that were under way when the present fault struck.
    pub(super) in_flight: usize,
    pub(super) silence: Silence,
    sampler: Sampler,
    employer: Employer,
    news: UnboundedReceiver<News>,
    gone: HashSet<Arc<str>>,
    /// For what the harness calls itself, past the proxies.
    caller: Caller,
    handles: Handles,
    suspects: Vec<Uuid>,
}

impl Ground {
    /// Starts a server with what there is to fight for.
    pub(super) async fn open(options: &Options, progress: &Progress) -> Result<Self> {
        progress.say("starting PostgreSQL");
        if let Err(why) = disk::become_private() {
            tracing::info!("nothing can be mounted: {why}");
        }
        let cluster = Cluster::start(Yard::open().await?).await?;
        progress.say(&format!("{}, installing the schema", cluster.describe()));
        let mut client = cluster.connect().await?;
        Runner::embedded()?.migrate(&mut client).await?;
        cluster::create_role(&client).await?;
        let direct = cluster.direct()?.with_application_name(OURSELVES);
        let direct = direct.with_pool_size(2).without_lease();
        let handles = Handles::connect(&direct).await?;
        place::set_up(&handles).await?;

        let (sender, news) = unbounded_channel();
        let employer = Employer {
            database: cluster.for_managers().to_owned(),
            workers: options.workers,
            seed: options.seed,
            directory: cluster.yard().path().to_owned(),
            news: sender.clone(),
        };
        let ourselves: Arc<str> = Arc::from(OURSELVES);
        let caller = Caller::new(Arc::new(move |event| {
            let _ = sender.send(News::Event(Arc::clone(&ourselves), event.clone()));
        }));
        Ok(Self {
            managers: Vec::new(),
            rng: StdRng::seed_from_u64(options.seed),
            history: History::create(&options.history)?,
            in_flight: 0,
            silence: Silence::default(),
            sampler: Sampler::start(&direct),
            employer,
            news,
            gone: HashSet::new(),
            caller,
            handles,
            suspects: Vec::new(),
            cluster,
        })
    }

    /// Starts the standby and the managers, and waits until all work.
    pub(super) async fn populate(&mut self, options: &Options, progress: &Progress) -> Result<()> {
        progress.say("making a standby");
        self.cluster.add_standby().await?;
        let before = now();
        for number in 1..=options.managers {
            self.managers.push(self.employer.hire(number).await?);
        }
        self.recovered(before).await
    }

    /// A connection of the superuser to the primary.
    pub(super) async fn connect(&self) -> Result<Client> {
        self.cluster.connect().await
    }

    /// Puts down what was heard so far.
    pub(super) fn hear(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            self.take(news);
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Event(author, event) => self.history.take(&author, &event),
            News::Gone(author) => {
                self.gone.insert(author);
            }
        }
    }

    /// Lets the managers work.
    pub(super) async fn listen_for(&mut self, duration: Duration) {
        let deadline = Instant::now() + duration;
        while let Ok(Some(news)) = timeout_at(deadline, self.news.recv()).await {
            self.take(news);
        }
    }

    /// Listens until something is so.
    pub(super) async fn listen_until(
        &mut self,
        what: &str,
        mut question: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        until(what, RECOVERY, async || {
            self.hear();
            Ok(question(self))
        })
        .await
    }

    /// The moment at which a fault strikes.
    pub(super) fn mark(&mut self, fault: &str) {
        self.hear();
        self.in_flight = self.history.in_flight();
        self.history.note(OURSELVES, &serde_json::json!({ "strikes": fault, "at": now() }));
    }

    /// Waits until every manager has an answer to a call that it sent later than this.
    pub(super) async fn recovered(&mut self, since: u64) -> Result<()> {
        self.listen_until("every manager works again", |ground| {
            let works = |manager: &Manager| {
                ground.history.latest(&manager.name).is_some_and(|(sent, _)| sent > since)
            };
            ground.managers.iter().all(works)
        })
        .await
    }

    /// Kills a manager, starts its successor, and settles what the dead one left.
    pub(super) async fn kill(&mut self, index: usize) -> Result<()> {
        self.managers[index].kill().await?;
        let client = self.connect().await?;
        let holder = self.managers[index].holder();
        let epoch = "select max(epoch) from occupancy.managers where manager = $1";
        let epoch: Option<i64> = client.query_one(epoch, &[&holder]).await?.try_get(0)?;
        let successor = self.employer.replace(&self.managers[index]).await?;
        let dead = std::mem::replace(&mut self.managers[index], successor);
        let name = Arc::clone(&dead.name);
        self.listen_until("all that a dead manager wrote is read", |ground| {
            ground.gone.contains(&name)
        })
        .await?;
        let lost = self.history.bury(&name);
        self.settle(&name, lost).await?;
        // Those who live take what the dead held and had not confirmed.
        let free = "
            select not exists (
              select from occupancy.leases where manager = $1 and epoch <= $2)";
        until("what a dead manager held is free", TTL + GRACE + SLACK, async || {
            Ok(client.query_one(free, &[&holder, &epoch]).await?.try_get(0)?)
        })
        .await?;
        let left = ledger::left_behind(&self.history, Some(&name));
        self.release(&left).await
    }

    /// Nobody is left who knows what became of these calls: repeats them, which must tell.
    async fn settle(&mut self, dead: &str, lost: Vec<Call>) -> Result<()> {
        let client = self.connect().await?;
        let quiet = format!(
            "select not exists (select from pg_stat_activity where application_name = '{dead}')"
        );
        until("the server is done with a dead manager's calls", RECOVERY, async || {
            holds(&client, &quiet).await
        })
        .await?;
        // Nobody but himself could confirm what was his.
        for call in lost.iter().filter(|call| !matches!(call, Call::Confirm(_))) {
            self.call(call).await?;
        }
        Ok(())
    }

    async fn call(&mut self, call: &Call) -> Result<()> {
        // A mistake is in the history, which has none.
        let tracker = self.handles.tracker().clone();
        let ourselves = call::Client { tracker, patient: true };
        let outcome = self.caller.call(&ourselves, call).await;
        self.hear();
        match outcome {
            Err(error) if error.code().is_none() => Err(error),
            _ => Ok(()),
        }
    }

    async fn release(&mut self, sessions: &[Uuid]) -> Result<()> {
        for batch in sessions.chunks(BATCH) {
            self.call(&Call::ReleaseBatch(batch.to_vec())).await?;
        }
        Ok(())
    }

    /// Whatever must hold at any time.
    pub(super) async fn check(&mut self) -> Result<Vec<Violation>> {
        self.hear();
        let news = self.history.take_news();
        let client = self.connect().await?;
        let (history, suspects) = (&mut self.history, &mut self.suspects);
        let mut violations =
            ledger::check(&client, history, &self.silence, &news, suspects).await?;
        violations.extend(model::check(&self.history, &news));
        let mut watch = Watch::new(self.handles.clone());
        watch.look().await?;
        watch.audit().await?;
        let seen = self.sampler.broken().into_iter().chain(watch.broken);
        violations.extend(seen.map(Violation::somewhere));
        self.history.flush();
        Ok(violations)
    }

    /// Ends the work in good order; afterwards nothing may be held.
    pub(super) async fn finish(&mut self) -> Result<Vec<Violation>> {
        let mut violations = Vec::new();
        for manager in &mut self.managers {
            manager.dismiss();
        }
        let mut managers = std::mem::take(&mut self.managers);
        for manager in &mut managers {
            if !manager.leave().await? {
                let what = format!("{} did not end well", manager.name);
                violations.push(Violation::somewhere(what));
            }
            let name = Arc::clone(&manager.name);
            self.listen_until("a manager has written all", |ground| ground.gone.contains(&name))
                .await?;
            let lost = self.history.bury(&name);
            self.settle(&name, lost).await?;
        }
        let left = ledger::left_behind(&self.history, None);
        self.release(&left).await?;
        violations.extend(self.check().await?);
        // With the whole of the history, and with those who had to be explained.
        violations.extend(model::crowds(self.history.stories().map(|(_, story)| story)));
        violations.extend(self.check().await?);
        let empty = "select not exists (select from occupancy.sessions)
            and not exists (select from occupancy.kernels)
            and not exists (select from occupancy.agent_occupancy where occupied_slots <> '{}')
            and not exists (select from occupancy.quotas where used <> 0)";
        if !holds(&self.connect().await?, empty).await? {
            violations.push(Violation::somewhere("something is held, but not by the history"));
        }
        Ok(violations)
    }

    pub(super) fn samples(&self) -> u64 {
        self.sampler.taken()
    }

    /// Ends all processes and removes all files but the history.
    pub(super) async fn close(self) -> Result<()> {
        let Self { managers, cluster, sampler, .. } = self;
        for mut manager in managers {
            manager.kill().await?;
        }
        drop(sampler);
        cluster.close().await
    }
}
