//! A server that really stops under a scheduler, and starts again: on its own, since no other test
//! could bear it.

use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use occupancy::schema::Runner;
use occupancy::server::{DataDir, Embedded};
use occupancy::{
    Cause, Config, Handles, Hearing, Hooks, LeaseOptions, LeaseState, ResourceSlots, Scheduler,
    SchedulerOptions, SchedulerState, SessionRequest, TickReport,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::platform::ask;
use crate::support::{Place, connect, wait_for};

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the hooks of a scheduler were told of a tick: whom it placed, or its error in words.
type Told = (Cause, Result<Vec<Uuid>, String>);

struct Teller(UnboundedSender<Told>);

impl Hooks for Teller {
    async fn after_tick(&self, report: &TickReport) {
        let result = match &report.result {
            Ok(_) => Ok(report.placed().map(|session| session.session_id).collect()),
            Err(error) if error.is_transient() => Err(error.to_string()),
            Err(error) => panic!("not what a server that is away answers: {error:?}"),
        };
        let _ = self.0.send((report.cause, result));
    }
}

/// Waits for a tick of which this is told, and asserts that none before it placed anybody.
async fn tick_that(told: &mut UnboundedReceiver<Told>, is: impl Fn(&Told) -> bool) -> Told {
    let tick = async {
        loop {
            let tick = told.recv().await.expect("the scheduler lives");
            if is(&tick) {
                return tick;
            }
            assert!(tick.1.as_ref().map_or(&[][..], Vec::as_slice).is_empty(), "{tick:?}");
        }
    };
    timeout(PATIENCE, tick).await.expect("such a tick")
}

/// Waits for the tick that places this session.
async fn placed(told: &mut UnboundedReceiver<Told>, id: Uuid) -> Cause {
    let (cause, result) =
        tick_that(told, |tick| tick.1.as_ref().is_ok_and(|p| !p.is_empty())).await;
    assert_eq!(result.expect("placed"), [id]);
    cause
}

async fn until<T: Clone>(mut states: watch::Receiver<T>, state: impl FnMut(&T) -> bool) -> T {
    let state = timeout(PATIENCE, states.wait_for(state)).await;
    state.expect("waited in vain for a state").expect("it is alive").clone()
}

fn request() -> SessionRequest {
    SessionRequest::new(Uuid::now_v7(), "AK").with_kernel(ResourceSlots::new().with("cpu", 1))
}

async fn enqueue(handles: &Handles) -> Uuid {
    let request = request();
    assert!(handles.queue().enqueue_session(&request).await.expect("answered").is_accepted());
    request.session_id
}

async fn serve(directory: &DataDir, port: u16) -> Embedded {
    directory.serve(Some(port)).await.unwrap_or_else(|error| panic!("{error:?}"))
}

/// What the process that embeds the scheduler is to see while no server answers.
async fn is_told_of_the_outage(scheduler: &Scheduler, lease: watch::Receiver<LeaseState>) {
    let SchedulerState::Failing(why) =
        until(scheduler.watch(), |state| matches!(state, SchedulerState::Failing(_))).await
    else {
        panic!("{:?}", scheduler.state())
    };
    assert!(!why.is_empty());
    until(scheduler.watch_hearing(), |hearing| matches!(hearing, Hearing::Polling(_))).await;
    until(lease, |state| matches!(state, LeaseState::Silent(_))).await;
    let failed = scheduler.metrics().ticks_failed;
    wait_for("another try", async || scheduler.metrics().ticks_failed > failed).await;
}

// A process with a scheduler, a manager and its heartbeat. The server goes while a tick waits for a
// lock, once as `pg_ctl stop -m fast` and once as `-m immediate` would have it, after which it has to
// recover from its log. When it is back the process goes on by itself, as the manager that it was,
// and what waited or comes then is placed once.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_and_its_manager_survive_a_server_that_stops_and_starts_again() {
    let place = Place::new();
    let directory = place.data_dir();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a free port").port();
    let mut server = serve(&directory, port).await;
    let url = server.url().to_owned();
    let mut admin = connect(&url).await;
    Runner::embedded().expect("sound").migrate(&mut admin).await.expect("the schema installs");
    admin
        .batch_execute(
            "select occupancy.put_resource_policy('open');
             select occupancy.put_keypair('AK', 'alice', 'open');
             select occupancy.put_agent('a1', '{\"cpu\": 1000}');",
        )
        .await
        .expect("registered");
    let manager = LeaseOptions {
        name: Some("m1".to_owned()),
        ttl: Duration::from_secs(1),
        grace: Duration::from_secs(3600),
        ..LeaseOptions::default()
    };
    let config: Config = url.parse().expect("a valid URL");
    let config = config.with_application_name("a scheduler").with_lease(manager);
    let handles = Handles::connect(&config).await.expect("it answers");
    let options =
        SchedulerOptions { poll: Duration::from_secs(1), ..SchedulerOptions::of("default") };
    let (teller, mut told) = unbounded_channel();
    let scheduler = Scheduler::start(&handles, options.clone(), Teller(teller)).expect("started");
    let lease = handles.lease().expect("on").clone();
    let holder = lease.register().await.expect("registered");

    for stop in [Signal::SIGINT, Signal::SIGQUIT] {
        until(scheduler.watch_hearing(), |hearing| *hearing == Hearing::Listening).await;
        let before = enqueue(&handles).await;
        placed(&mut told, before).await;

        // A tick is under way, with the lock of its group in its hands.
        let blocker = connect(&url).await;
        blocker.batch_execute("begin; select from occupancy.agent for update").await.expect("held");
        let waiting = enqueue(&handles).await;
        wait_for("a tick to wait", async || {
            let waits = "select count(*) from pg_stat_activity
                          where wait_event_type = 'Lock' and query like '%schedule_sessions%'";
            ask(&admin, waits).await.expect("answered").as_deref() == Some("1")
        })
        .await;
        let process = Pid::from_raw(server.running().process.cast_signed());
        kill(process, stop).expect("it lives");
        timeout(PATIENCE, server.ended()).await.expect("it stops");
        let (_, lost) = tick_that(&mut told, |tick| tick.1.is_err()).await;
        assert!(lost.is_err_and(|why| !why.is_empty()));
        is_told_of_the_outage(&scheduler, lease.watch()).await;

        server = serve(&directory, port).await;
        assert_eq!(server.url(), url);
        placed(&mut told, waiting).await;
        admin = connect(&url).await;
        // Nobody rings for what comes past the client.
        let id = Uuid::now_v7();
        let enqueue_session = "select occupancy.enqueue_session($1, 'AK', '[{\"slots\": {}}]')";
        admin.query(enqueue_session, &[&id]).await.expect("enqueued");
        placed(&mut told, id).await;
        until(scheduler.watch(), |state| *state == SchedulerState::Running).await;
        until(lease.watch(), |state| *state == LeaseState::Held(holder.clone())).await;
        until(scheduler.watch_hearing(), |hearing| *hearing == Hearing::Listening).await;
    }
    assert!(lease.counters().recoveries >= 2, "{:?}", lease.counters());
    let history = "select count(*) from occupancy.history where to_status = 'SCHEDULED'";
    assert_eq!(ask(&admin, history).await.expect("answered").as_deref(), Some("6"));
    assert_eq!(
        ask(&admin, "select count(*) from occupancy.audit()").await.expect("audited").as_deref(),
        Some("0")
    );
    scheduler.stop().await;
    assert_eq!(scheduler.state(), SchedulerState::Stopped);

    // Nor does one wait for a server in order to stop.
    let scheduler = Scheduler::start(&handles, options, ()).expect("started");
    until(scheduler.watch_hearing(), |hearing| *hearing == Hearing::Listening).await;
    server.terminate().await.expect("stopped");
    is_told_of_the_outage(&scheduler, lease.watch()).await;
    timeout(PATIENCE, scheduler.stop()).await.expect("it ends");
    assert_eq!(scheduler.state(), SchedulerState::Stopped);
}
