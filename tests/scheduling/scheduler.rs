//! The loop that ticks: what wakes it, what ends it, and what it tells.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use occupancy::{
    Cause, Config, Handles, Hearing, Heartbeat, Hooks, LeaseOptions, ResourcePolicy, ResourceSlots,
    Scheduler, SchedulerOptions, SchedulerState, SessionRequest, Tick, TickReport, WakeUp,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::platform::Platform;
use crate::support::{connect, wait_for};

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// No poll explains anything that happens in a test.
const NEVER: Duration = Duration::from_secs(3600);

/// One agent `a1` of 4 cpu, and a key `AK` without limits.
async fn platform() -> Platform {
    Platform::new(
        "select occupancy.put_resource_policy('open');
         select occupancy.put_keypair('AK', 'alice', 'open');
         select occupancy.put_agent('a1', '{\"cpu\": 4}');",
    )
    .await
}

fn config(platform: &Platform) -> Config {
    let config: Config = platform.db.url().parse().expect("the test database has a valid URL");
    config.with_application_name("a scheduler").without_lease()
}

/// What a process has.
async fn handles(platform: &Platform) -> Handles {
    Handles::connect(&config(platform)).await.expect("the test database answers")
}

fn request(access_key: &str, cpu: u32) -> SessionRequest {
    let slots = ResourceSlots::new().with("cpu", cpu);
    SessionRequest::new(Uuid::now_v7(), access_key).with_kernel(slots)
}

async fn enqueue(handles: &Handles, cpu: u32) -> Uuid {
    enqueue_for(handles, "AK", cpu).await
}

async fn enqueue_for(handles: &Handles, access_key: &str, cpu: u32) -> Uuid {
    let request = request(access_key, cpu);
    let answer = handles.queue().enqueue_session(&request).await.expect("answered");
    assert!(answer.is_accepted(), "{answer:?}");
    request.session_id
}

fn every(poll: Duration) -> SchedulerOptions {
    SchedulerOptions { poll, ..SchedulerOptions::of("default") }
}

/// Tells of each session that is placed, and why the tick was sent.
struct Teller(UnboundedSender<(Uuid, Cause)>);

impl Hooks for Teller {
    async fn after_tick(&self, report: &TickReport) {
        for session in report.placed() {
            let _ = self.0.send((session.session_id, report.cause));
        }
    }
}

type Told = UnboundedReceiver<(Uuid, Cause)>;

fn start(handles: &Handles, options: SchedulerOptions) -> (Scheduler, Told) {
    let (teller, told) = unbounded_channel();
    (Scheduler::start(handles, options, Teller(teller)).expect("it starts"), told)
}

async fn next(told: &mut Told) -> (Uuid, Cause) {
    let next = timeout(PATIENCE, told.recv()).await;
    next.expect("waited in vain for a session to be placed").expect("the scheduler lives")
}

async fn until<T: Clone>(mut states: watch::Receiver<T>, state: impl FnMut(&T) -> bool) -> T {
    let state = timeout(PATIENCE, states.wait_for(state)).await;
    state.expect("waited in vain for a state").expect("the scheduler has told").clone()
}

/// How often ticks have found no room for somebody.
fn looks(scheduler: &Scheduler) -> u64 {
    let outcomes = scheduler.metrics().outcomes;
    outcomes.iter().filter(|(outcome, _)| *outcome != "placed").map(|(_, times)| times).sum()
}

/// Lets a session wait that has no room, and waits for the tick that finds so: no tick that is under
/// way explains what happens to it later.
async fn left_waiting(handles: &Handles, scheduler: &Scheduler, access_key: &str) -> Uuid {
    let before = looks(scheduler);
    let id = enqueue_for(handles, access_key, 4).await;
    wait_for("a tick to find no room", async || looks(scheduler) > before).await;
    id
}

async fn listening(scheduler: &Scheduler) {
    until(scheduler.watch_hearing(), |hearing| *hearing == Hearing::Listening).await;
}

// One process has a scheduler and waits; another one frees what the session of a third waits for.
// Nobody polls: whatever is placed was woken for. A machine under load may be slow once or twice,
// but not every time.
#[tokio::test(flavor = "multi_thread")]
async fn a_freed_slot_wakes_a_waiting_scheduler_within_100_ms() {
    let platform = platform().await;
    let (waiting, working) = (handles(&platform).await, handles(&platform).await);
    let (scheduler, mut told) = start(&waiting, every(NEVER));
    let elsewhere = SchedulerOptions { poll: NEVER, ..SchedulerOptions::of("elsewhere") };
    let elsewhere = start(&waiting, elsewhere).0;
    listening(&scheduler).await;
    listening(&elsewhere).await;

    let mut holding = enqueue(&working, 4).await;
    assert_eq!(next(&mut told).await, (holding, Cause::Woken), "to enqueue wakes, too");
    let mut times = Vec::new();
    for _ in 0..20 {
        let id = left_waiting(&working, &scheduler, "AK").await;
        working.tracker().release_session(holding).await.expect("released");
        let freed = Instant::now();
        assert_eq!(next(&mut told).await, (id, Cause::Woken));
        times.push(freed.elapsed());
        holding = id;
    }
    let best = times.iter().min().expect("some");
    assert!(*best < Duration::from_millis(100), "{times:?}");
    assert_eq!(scheduler.metrics().causes.get("polled"), None);
    let needless = elsewhere.metrics().causes.get("woken").copied();
    assert!(needless <= Some(1), "only when it began to listen, and not {needless:?} times");
    platform.assert_sound().await;
}

// Everything that may make room wakes, whichever function it is.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_makes_room_wakes() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    let (scheduler, mut told) = start(&handles, every(NEVER));
    listening(&scheduler).await;
    let (tracker, queue) = (handles.tracker(), handles.queue());
    let mut holding = enqueue(&handles, 4).await;
    assert_eq!(next(&mut told).await.0, holding);
    for way in ["batch", "kernel", "settle", "evacuate", "status", "agent"] {
        let kernel = queue.explain_agent("a1").await.expect("held")[0].kernel_id;
        let id = left_waiting(&handles, &scheduler, "AK").await;
        match way {
            "batch" => drop(tracker.release_sessions(&[holding]).await.expect("released")),
            "kernel" => drop(tracker.release_kernel(kernel).await.expect("released")),
            "settle" => {
                let nothing = ResourceSlots::new();
                tracker.settle_kernel(kernel, &nothing).await.expect("settled");
            }
            "evacuate" => drop(handles.agents().evacuate_agent("a1").await.expect("evacuated")),
            "status" => {
                let ended = "TERMINATED".into();
                queue.set_session_status(holding, &ended, None).await.expect("legal");
            }
            _ => {
                let another = Heartbeat {
                    available_slots: Some(ResourceSlots::new().with("cpu", 4)),
                    ..Heartbeat::new("a2")
                };
                handles.agents().put_agent(&another).await.expect("registered");
            }
        }
        assert_eq!(next(&mut told).await, (id, Cause::Woken), "{way}");
        if way == "settle" {
            tracker.release_session(holding).await.expect("released");
        }
        holding = id;
    }
    platform.assert_sound().await;
}

// The same where not an agent is full, but a key.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_a_session_off_its_key_wakes_and_so_does_a_higher_limit() {
    let platform = platform().await;
    platform.run("select occupancy.put_resource_policy('open', 1)").await;
    platform.run("select occupancy.put_keypair('AK', 'alice', 'open', domain => 'd')").await;
    platform.run("select occupancy.put_keypair('BK', 'bob', 'open', domain => 'd')").await;
    platform.run("select occupancy.put_agent('a1', '{\"cpu\": 100}')").await;
    let handles = handles(&platform).await;
    let (scheduler, mut told) = start(&handles, every(NEVER));
    listening(&scheduler).await;
    let first = enqueue(&handles, 4).await;
    assert_eq!(next(&mut told).await.0, first);

    let second = left_waiting(&handles, &scheduler, "AK").await;
    handles.tracker().terminate_session(first).await.expect("terminating");
    assert_eq!(next(&mut told).await, (second, Cause::Woken));

    let third = left_waiting(&handles, &scheduler, "AK").await;
    let two = ResourcePolicy { max_concurrent_sessions: Some(2), ..ResourcePolicy::new("open") };
    handles.tracker().put_resource_policy(&two).await.expect("changed");
    assert_eq!(next(&mut told).await, (third, Cause::Woken));

    // Of another user's quota, since what waits for its own key is ended along with it.
    platform.run("select occupancy.put_quota('domain', 'd', 2)").await;
    let fourth = left_waiting(&handles, &scheduler, "BK").await;
    handles.tracker().clear_concurrency("AK").await.expect("cleared");
    assert_eq!(next(&mut told).await, (fourth, Cause::Woken));
    platform.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_tells_of_is_found_at_the_next_poll() {
    let platform = platform().await;
    let silent =
        Handles::connect(&config(&platform).with_wake_ups(false)).await.expect("connected");
    let (scheduler, mut told) = start(&silent, every(Duration::from_millis(200)));
    // It ticks once when it has begun to listen.
    wait_for("that", async || scheduler.metrics().causes.contains_key("woken")).await;
    let holding = enqueue(&silent, 4).await;
    assert_eq!(next(&mut told).await, (holding, Cause::Polled));
    let waiting = enqueue(&silent, 4).await;
    platform.run(&format!("select occupancy.release_session('{holding}')")).await;
    assert_eq!(next(&mut told).await, (waiting, Cause::Polled));
}

#[tokio::test]
async fn a_wake_up_names_the_groups_that_wait_and_where_nobody_does_there_is_none() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    let wake = "select occupancy.wake_schedulers()";
    assert_eq!(platform.ask(wake).await, "0");
    platform.run("select occupancy.put_agent('b1', '{\"cpu\": 4}', 'other')").await;
    for group in ["other", "default", "other"] {
        let request = request("AK", 1).with_resource_group(group);
        handles
            .queue()
            .enqueue_session(&request)
            .await
            .expect("answered")
            .message
            .unwrap_or_default();
    }
    assert_eq!(platform.ask(wake).await, "2");
    handles.queue().schedule_sessions(&Tick::of("other")).await.expect("ticked");
    assert_eq!(platform.ask(wake).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_stops_waits_for_the_tick_under_way() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    let id = enqueue(&handles, 1).await;
    let blocker = platform.begin().await;
    blocker.batch_execute("select from occupancy.agent for update").await.expect("locked");
    let (scheduler, mut told) = start(&handles, every(NEVER));
    platform.wait_for_waiters(1).await;
    let scheduler = Arc::new(scheduler);
    let stopping = tokio::spawn({
        let scheduler = Arc::clone(&scheduler);
        async move { scheduler.stop().await }
    });
    platform.wait_for_waiters(1).await;
    assert!(!stopping.is_finished());
    blocker.batch_execute("commit").await.expect("unlocked");
    stopping.await.expect("stopped");
    assert_eq!(told.try_recv().expect("its hooks were called"), (id, Cause::Started));
    assert_eq!(scheduler.state(), SchedulerState::Stopped);
    assert_eq!(scheduler.metrics().ticks, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_does_not_wait_for_another_ones_tick_and_comes_back() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    let id = enqueue(&handles, 1).await;
    let other = platform.begin().await;
    other.batch_execute("select occupancy.schedule_sessions()").await.expect("ticked");
    let (scheduler, mut told) = start(&handles, every(NEVER));
    wait_for("it to come back", async || scheduler.metrics().ticks_busy > 1).await;
    platform.wait_for_waiters(0).await;
    assert_eq!(scheduler.metrics().ticks, 0);
    assert_eq!(scheduler.state(), SchedulerState::Running);
    other.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(next(&mut told).await.0, id);
    assert!(scheduler.metrics().causes["busy"] > 0);
    platform.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_ends_with_its_owner_and_lets_go_of_its_connections() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    let (scheduler, mut told) = start(&handles, every(NEVER));
    listening(&scheduler).await;
    let states = scheduler.watch();
    drop(scheduler);
    until(states, |state| *state == SchedulerState::Stopped).await;
    assert_eq!(timeout(PATIENCE, told.recv()).await.expect("in time"), None, "the hooks are gone");
    drop(handles);
    wait_for("its connections to be closed", async || {
        let connected = "select count(*) from pg_stat_activity
                          where datname = current_database() and application_name = 'a scheduler'";
        platform.ask(connected).await == "0"
    })
    .await;
}

/// Notes when it is called, and panics the first time.
struct Notes(Arc<Mutex<Vec<&'static str>>>);

impl Notes {
    fn add(&self, note: &'static str) -> usize {
        let mut notes = self.0.lock().expect("nobody panics with it");
        notes.push(note);
        notes.len()
    }
}

impl Hooks for Notes {
    async fn before_tick(&self, tick: &Tick) {
        assert_eq!(tick.resource_group, "default");
        assert_ne!(self.add("before"), 1, "the first hook panics");
    }

    async fn after_tick(&self, report: &TickReport) {
        assert!(report.result.is_ok());
        self.add("after");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_called_around_every_tick_and_one_that_panics_stops_nothing() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    let notes = Arc::default();
    let options = SchedulerOptions { wake_up: WakeUp::Poll, ..every(Duration::from_millis(10)) };
    let scheduler =
        Scheduler::start(&handles, options, Notes(Arc::clone(&notes))).expect("started");
    wait_for("three ticks", async || scheduler.metrics().ticks >= 3).await;
    scheduler.stop().await;
    let notes = notes.lock().expect("nobody panicked with it").clone();
    let ticks = usize::try_from(scheduler.metrics().ticks).expect("few");
    assert_eq!(notes, ["before", "after"].repeat(ticks));
    assert_eq!(scheduler.metrics().hooks_panicked, 1);
    assert!(matches!(scheduler.hearing(), Hearing::Polling(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_whose_manager_is_fenced_ends_and_says_so() {
    let platform = platform().await;
    let manager = LeaseOptions {
        name: Some("m1".to_owned()),
        ttl: Duration::from_secs(1),
        ..LeaseOptions::default()
    };
    let config = config(&platform).with_lease(manager);
    let old = Handles::connect(&config).await.expect("connected");
    let (scheduler, mut told) = start(&old, every(Duration::from_millis(50)));
    let id = enqueue(&old, 1).await;
    assert_eq!(next(&mut told).await.0, id);
    assert_eq!(platform.ask("select status from occupancy.managers").await, "ALIVE");

    let new = Handles::connect(&config).await.expect("connected");
    let successor = new.lease().expect("on").register().await.expect("registered");
    let ended = |state: &SchedulerState| !matches!(state, SchedulerState::Running);
    let SchedulerState::Fenced(place) = until(scheduler.watch(), ended).await else {
        panic!("{:?}", scheduler.state())
    };
    assert!(place.contains(&format!("epoch {}", successor.epoch)), "{place}");
    scheduler.stop().await;
    assert!(matches!(scheduler.state(), SchedulerState::Fenced(_)), "that stays known");
}

// The database takes no connections for a while, and those that there were are cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_goes_on_by_itself_when_the_server_is_back() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    let (scheduler, mut told) = start(&handles, every(NEVER));
    listening(&scheduler).await;
    let allow = |allowed: bool| {
        format!("alter database {} allow_connections {allowed}", platform.db.name())
    };
    let elsewhere = connect(platform.db.server_url()).await;
    elsewhere.batch_execute(&allow(false)).await.expect("altered");
    platform
        .run(
            "select pg_terminate_backend(pid, 20000) from pg_stat_activity
              where datname = current_database() and application_name = 'a scheduler'",
        )
        .await;
    let deaf = |hearing: &Hearing| matches!(hearing, Hearing::Polling(_));
    until(scheduler.watch_hearing(), deaf).await;
    elsewhere.batch_execute(&allow(true)).await.expect("altered");
    // As soon as it listens again it ticks, whatever was missed.
    platform
        .run(&format!(
            "select occupancy.enqueue_session('{}', 'AK', '[{{\"slots\": {{\"cpu\": 1}}}}]')",
            Uuid::now_v7()
        ))
        .await;
    assert_ne!(next(&mut told).await.1, Cause::Polled);
    listening(&scheduler).await;
    let id = enqueue(&handles, 1).await;
    assert_eq!(next(&mut told).await, (id, Cause::Woken));
    assert_eq!(scheduler.state(), SchedulerState::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_fails_is_told_and_repeated() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    let options = SchedulerOptions {
        tick: Tick { policy: "fairest".into(), ..Tick::default() },
        ..every(Duration::from_millis(10))
    };
    let (scheduler, _told) = start(&handles, options);
    wait_for("a repetition", async || scheduler.metrics().ticks_failed > 1).await;
    let SchedulerState::Failing(why) = scheduler.state() else { panic!("{:?}", scheduler.state()) };
    assert!(why.contains("policy"), "{why}");
    assert_eq!(scheduler.metrics().ticks, 0);
    let short = Scheduler::start(&handles, every(Duration::ZERO), ());
    assert!(short.expect_err("too often").hint_text().is_some());
}

/// Tells how many sessions each tick placed, or the SQLSTATE that it failed with.
struct Counter(UnboundedSender<(Cause, Result<usize, Option<String>>)>);

impl Hooks for Counter {
    async fn after_tick(&self, report: &TickReport) {
        let result = match &report.result {
            Ok(_) => Ok(report.placed().count()),
            Err(error) => Err(error.sqlstate().map(ToOwned::to_owned)),
        };
        let _ = self.0.send((report.cause, result));
    }
}

// The first tick fails with an error after which a call of the pool is repeated without a word. Were
// a tick, it could have placed somebody whose answer was lost, and nobody would be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_tick_is_sent_once_whatever_it_fails_with() {
    let platform = platform().await;
    platform
        .run(
            "create sequence public.tries;
             create function public.fail_once() returns trigger language plpgsql security definer as $$
             begin
               if nextval('public.tries') = 1 then
                 raise exception 'not now' using errcode = 'serialization_failure';
               end if;
               return old;
             end $$;
             create trigger fails before delete on occupancy.queued_session
               for each row execute function public.fail_once();",
        )
        .await;
    let handles = handles(&platform).await;
    enqueue(&handles, 1).await;
    let options = SchedulerOptions { wake_up: WakeUp::Poll, ..every(NEVER) };
    let (counter, mut told) = unbounded_channel();
    let scheduler = Scheduler::start(&handles, options, Counter(counter)).expect("started");
    let mut next =
        async || timeout(PATIENCE, told.recv()).await.expect("in time").expect("it lives");
    assert_eq!(next().await, (Cause::Started, Err(Some("40001".to_owned()))));
    assert_eq!(next().await, (Cause::Repeated, Ok(1)));
    scheduler.stop().await;
    let metrics = scheduler.metrics();
    assert_eq!((metrics.ticks, metrics.ticks_failed), (1, 1));
    assert_eq!(platform.ask("select last_value from public.tries").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_of_one_group_place_no_session_twice() {
    let platform = platform().await;
    platform.run("select occupancy.put_agent('a1', '{\"cpu\": 1000}')").await;
    let processes = [handles(&platform).await, handles(&platform).await];
    let options =
        || SchedulerOptions { tick: Tick { max_sessions: 5, ..Tick::default() }, ..every(NEVER) };
    let (first, mut first_told) = start(&processes[0], options());
    let (second, mut second_told) = start(&processes[1], options());
    listening(&first).await;
    listening(&second).await;
    let mut expected = BTreeSet::new();
    for n in 0..60 {
        expected.insert(enqueue(&processes[n % 2], 1).await);
    }
    let mut placed = BTreeSet::new();
    while placed.len() < expected.len() {
        let told = timeout(PATIENCE, async {
            tokio::select! {
                told = first_told.recv() => told,
                told = second_told.recv() => told,
            }
        });
        let (id, _) = told.await.expect("in time").expect("they live");
        assert!(placed.insert(id), "{id} was placed twice");
    }
    assert_eq!(placed, expected);
    first.stop().await;
    second.stop().await;
    assert_eq!(first_told.try_recv().or(second_told.try_recv()).ok(), None);
    platform.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_tick_is_followed_by_another_and_the_metrics_tell_all_of_it() {
    let platform = platform().await;
    let handles = handles(&platform).await;
    for _ in 0..4 {
        enqueue(&handles, 1).await;
    }
    enqueue(&handles, 5).await;
    let options = SchedulerOptions {
        tick: Tick { max_sessions: 2, ..Tick::default() },
        wake_up: WakeUp::Poll,
        ..every(NEVER)
    };
    let (scheduler, mut told) = start(&handles, options);
    for _ in 0..4 {
        next(&mut told).await;
    }
    wait_for("the last tick", async || scheduler.metrics().outcomes.len() == 2).await;
    scheduler.stop().await;
    let metrics = scheduler.metrics();
    assert_eq!(
        metrics.outcomes.into_iter().collect::<Vec<_>>(),
        [("no_agent_fits".to_owned(), 1), ("placed".to_owned(), 4)]
    );
    assert_eq!(metrics.causes.into_iter().collect::<Vec<_>>(), [("full", 2), ("started", 1)]);
    assert_eq!((metrics.ticks, metrics.ticks_failed, metrics.hooks_panicked), (3, 0, 0));
    assert!(metrics.longest_tick >= metrics.last_tick && metrics.tick_time > metrics.longest_tick);
    // It counts at most once a second: after the first tick three were left.
    assert!(metrics.queue_length.is_some_and(|length| (1..=3).contains(&length)));
    assert!(metrics.oldest.is_some_and(|oldest| oldest > Duration::ZERO));
}
