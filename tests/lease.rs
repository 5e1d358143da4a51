//! The Rust client as a holder: registered, beating, fenced, stopped.

use std::time::Duration;

use occupancy::{
    Admission, Code, Config, ConfirmationOutcome, ErrorKind, Handles, Heartbeat, Keypair, Lease,
    LeaseOptions, LeaseState, LeaseStatus, ManagerStatus, ReleaseOutcome, Reservation,
    ResourcePolicy, ResourceSlots,
};
use tokio::time::timeout;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{TestDb, wait_for};

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn slots(cpu: u32) -> ResourceSlots {
    ResourceSlots::new().with("cpu", cpu)
}

fn config(db: &TestDb, manager: &str) -> Config {
    with_ttl(db, manager, Duration::from_secs(600))
}

/// One whose beats a test waits for.
fn quick(db: &TestDb, manager: &str) -> Config {
    with_ttl(db, manager, Duration::from_secs(1))
}

fn with_ttl(db: &TestDb, manager: &str, ttl: Duration) -> Config {
    let config: Config = db.client_url().parse().expect("the test database has a valid URL");
    config.with_application_name("a holder").with_lease(LeaseOptions {
        name: Some(manager.to_owned()),
        ttl,
        grace: Duration::from_secs(3600),
        ..LeaseOptions::default()
    })
}

async fn connect(config: &Config) -> Handles {
    Handles::connect(config).await.expect("the test database answers")
}

/// A key `AK` without limits and an agent `i-01`.
async fn platform() -> (TestDb, Client) {
    let db = TestDb::new().await;
    let admin = db.connect().await;
    let handles = connect(&config(&db, "registry")).await;
    handles.tracker().put_resource_policy(&ResourcePolicy::new("open")).await.expect("policy");
    handles.tracker().put_keypair(&Keypair::new("AK", "u1", "open")).await.expect("keypair");
    let agent = Heartbeat { available_slots: Some(slots(100)), ..Heartbeat::new("i-01") };
    handles.agents().put_agent(&agent).await.expect("agent");
    (db, admin)
}

fn reservation() -> Reservation {
    Reservation::new(Uuid::now_v7(), "AK").with_kernel("i-01", slots(1))
}

fn lease(handles: &Handles) -> &Lease {
    handles.lease().expect("it is not switched off")
}

async fn until(lease: &Lease, what: &str, state: impl FnMut(&LeaseState) -> bool) -> LeaseState {
    let mut states = lease.watch();
    let state = timeout(PATIENCE, states.wait_for(state)).await;
    state
        .unwrap_or_else(|_| panic!("waited in vain until {what}"))
        .expect("the lease lives")
        .clone()
}

async fn count(admin: &Client, what: &str) -> i64 {
    let sql = format!("select count(*) from {what}");
    admin.query_one(&sql, &[]).await.expect("a count").get(0)
}

#[tokio::test]
async fn what_the_client_reserves_is_held_until_it_is_confirmed() {
    let (db, _admin) = platform().await;
    let handles = connect(&config(&db, "m1")).await;
    let tracker = handles.tracker();
    let reservation = reservation();
    let session_id = reservation.session_id;
    assert!(tracker.reserve_session(&reservation).await.expect("reserved").is_admitted());
    let batch = [self::reservation(), self::reservation()];
    let admissions = tracker.reserve_sessions(&batch).await.expect("reserved");
    assert!(admissions.iter().all(Admission::is_admitted), "{admissions:?}");
    let leases = tracker.leases().await.expect("leases");
    assert_eq!(leases.len(), 3, "a batch as well: {leases:?}");
    tracker.release_sessions(&batch.map(|each| each.session_id)).await.expect("released");
    let leases = tracker.leases().await.expect("leases");
    let [held] = leases.as_slice() else { panic!("one lease: {leases:?}") };
    assert_eq!((held.session_id, held.manager.as_deref()), (session_id, Some("m1")));
    assert_eq!(held.state, LeaseStatus::Held);
    let holder = lease(&handles).registered().expect("registered");
    assert_eq!((holder.manager.as_str(), holder.epoch), ("m1", held.epoch));
    assert_eq!(lease(&handles).state(), LeaseState::Held(holder));
    for outcome in [ConfirmationOutcome::Confirmed, ConfirmationOutcome::AlreadyConfirmed] {
        let confirmation = tracker.confirm_session(session_id).await.expect("confirmed");
        assert_eq!(confirmation.outcome, outcome);
    }
    assert_eq!(tracker.leases().await.expect("leases"), []);
    let released = tracker.release_session(session_id).await.expect("released");
    assert_eq!(released.outcome, ReleaseOutcome::Released);
}

#[tokio::test]
async fn a_process_that_reserves_nothing_is_no_manager() {
    let (db, admin) = platform().await;
    let handles = connect(&config(&db, "m1")).await;
    handles.tracker().audit().await.expect("audited");
    let released = handles.tracker().release_session(Uuid::now_v7()).await.expect("answered");
    assert_eq!(released.outcome, ReleaseOutcome::Unknown);
    assert_eq!(count(&admin, "occupancy.managers").await, 0);
    assert_eq!(lease(&handles).state(), LeaseState::Unregistered);
    lease(&handles).register().await.expect("registered by hand");
    assert_eq!(count(&admin, "occupancy.managers").await, 1);
}

#[tokio::test]
async fn each_process_is_a_manager_of_its_own_by_default() {
    let (db, _admin) = platform().await;
    let config = config(&db, "").with_lease(LeaseOptions::default());
    let both = [connect(&config).await, connect(&config).await];
    for handles in &both {
        let _ = handles.tracker().reserve_session(&reservation()).await.expect("reserved");
    }
    let managers = both[0].tracker().managers().await.expect("managers");
    assert_eq!(managers.len(), 2);
    assert!(managers.iter().all(|start| start.status == ManagerStatus::Alive), "{managers:?}");
    assert!(managers.iter().all(|start| start.manager.starts_with("a holder@")), "{managers:?}");
}

#[tokio::test]
async fn a_reservation_in_the_callers_transaction_is_held_with_it() {
    let (db, _admin) = platform().await;
    let config = config(&db, "m1");
    let handles = connect(&config).await;
    let mut client = config.connect().await.expect("connected");
    for keep in [false, true] {
        let transaction = client.transaction().await.expect("begun");
        let tracker = handles.tracker().within(&transaction);
        assert!(tracker.reserve_session(&reservation()).await.expect("reserved").is_admitted());
        if keep {
            transaction.commit().await.expect("committed");
        } else {
            transaction.rollback().await.expect("rolled back");
        }
        let leases = handles.tracker().leases().await.expect("leases");
        assert_eq!(leases.len(), usize::from(keep));
    }
}

#[tokio::test]
async fn without_a_lease_nothing_is_held_and_nothing_is_confirmed() {
    let (db, admin) = platform().await;
    let leased = connect(&config(&db, "m1")).await;
    let handles = connect(&config(&db, "m2").without_lease()).await;
    assert!(handles.lease().is_none());
    for tracker in [handles.tracker().clone(), leased.tracker().clone().unleased()] {
        let reservation = reservation();
        assert!(tracker.reserve_session(&reservation).await.expect("reserved").is_admitted());
        let error = tracker.confirm_session(reservation.session_id).await.expect_err("nobody");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    assert_eq!(count(&admin, "occupancy.managers").await, 0);
    assert_eq!(count(&admin, "occupancy.leases").await, 0);
}

#[tokio::test]
async fn a_fenced_process_is_told_and_changes_nothing_any_more() {
    // The process stalls; its supervisor starts another one of the same name.
    let (db, _admin) = platform().await;
    let old = connect(&quick(&db, "m1")).await;
    let first = reservation();
    let _ = old.tracker().reserve_session(&first).await.expect("reserved");
    let new = connect(&quick(&db, "m1")).await;
    let successor = lease(&new).register().await.expect("registered");

    for error in [
        old.tracker().confirm_session(first.session_id).await.map(drop).expect_err("fenced"),
        old.tracker().release_session(first.session_id).await.map(drop).expect_err("fenced"),
        old.tracker().reserve_session(&reservation()).await.map(drop).expect_err("fenced"),
    ] {
        assert_eq!(error.code(), Some(Code::Fenced));
        let detail = error.detail_text().expect("a detail");
        assert!(detail.contains(&format!("fenced by epoch {}", successor.epoch)), "{detail}");
    }
    let state = until(lease(&old), "it is fenced", |state| matches!(state, LeaseState::Fenced(..)));
    let LeaseState::Fenced(holder, place) = state.await else { unreachable!("waited for") };
    assert!(holder.epoch < successor.epoch);
    assert!(place.contains(&format!("epoch {}", successor.epoch)), "{place}");

    let confirmed = new.tracker().confirm_session(first.session_id).await.expect("its successor");
    assert_eq!(confirmed.outcome, ConfirmationOutcome::Confirmed);
    lease(&old).stop().await;
    assert!(matches!(lease(&old).state(), LeaseState::Fenced(..)), "that stays known");
}

#[tokio::test]
async fn the_heartbeat_goes_on_and_ends_with_the_last_handle() {
    let (db, admin) = platform().await;
    let handles = connect(&quick(&db, "m1")).await;
    let tracker = handles.tracker().clone();
    lease(&handles).register().await.expect("registered");
    let observer = lease(&handles).watch();
    wait_for("three beats", async || lease(&handles).counters().beats >= 3).await;
    drop(handles);
    assert!(observer.has_changed().is_ok(), "a tracker keeps it alive");
    drop(tracker);
    // The task gives up its connection and its books.
    wait_for("the task to end", async || observer.has_changed().is_err()).await;
    let connected = "pg_stat_activity
                      where datname = current_database() and application_name = 'a holder'";
    wait_for("its connections to be closed", async || count(&admin, connected).await == 0).await;
}

#[tokio::test]
async fn a_lease_that_was_stopped_reserves_nothing_more() {
    let (db, _admin) = platform().await;
    let handles = connect(&config(&db, "m1")).await;
    lease(&handles).register().await.expect("registered");
    lease(&handles).stop().await;
    assert_eq!(lease(&handles).state(), LeaseState::Stopped);
    let beats = lease(&handles).counters().beats;
    let error = handles.tracker().reserve_session(&reservation()).await.expect_err("stopped");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(lease(&handles).counters().beats, beats);
    let tracker = handles.tracker().clone().unleased();
    assert!(tracker.reserve_session(&reservation()).await.expect("reserved").is_admitted());
}

#[tokio::test]
async fn what_dead_managers_held_is_reclaimed_and_they_are_forgotten() {
    let (db, admin) = platform().await;
    let died = connect(&config(&db, "died")).await;
    let lost = reservation();
    let _ = died.tracker().reserve_session(&lost).await.expect("reserved");
    lease(&died).stop().await;
    let silent = "update occupancy.manager set beat_at = beat_at - interval '2 days'
                   where manager = 'died'";
    let handles = connect(&quick(&db, "lives")).await;
    lease(&handles).register().await.expect("registered");
    wait_for("the chores to be done", async || {
        // Each time: a beat that was on its way when the process died may still land.
        admin.execute(silent, &[]).await.expect("aged");
        let counters = lease(&handles).counters();
        (counters.sessions_reclaimed, counters.managers_pruned) == (1, 1)
    })
    .await;
    let late = died.tracker().confirm_session(lost.session_id).await.expect_err("too late");
    assert_eq!(late.code(), Some(Code::Fenced));
    assert_eq!(handles.tracker().audit().await.expect("audited"), []);
    assert_eq!(lease(&handles).counters().chores_failed, 0);
}

#[tokio::test]
async fn a_beat_without_an_answer_is_given_up_and_the_next_one_recovers() {
    // The row of the manager is locked in psql for longer than its ttl.
    let (db, admin) = platform().await;
    let handles = connect(&quick(&db, "m1")).await;
    let reservation = reservation();
    let _ = handles.tracker().reserve_session(&reservation).await.expect("reserved");
    admin.batch_execute("begin; select from occupancy.manager for update").await.expect("locked");
    until(lease(&handles), "it is silent", |state| matches!(state, LeaseState::Silent(_))).await;
    assert!(lease(&handles).counters().beats_missed > 0);
    // What has not been answered may never be: the next one has a connection of its own.
    let observer = db.connect().await;
    let waiting = "pg_stat_activity where datname = current_database()
                     and wait_event_type = 'Lock' and query like '%heartbeat_manager%'";
    wait_for("a beat of another connection", async || count(&observer, waiting).await > 1).await;
    admin.batch_execute("commit").await.expect("unlocked");
    until(lease(&handles), "it is held again", |state| matches!(state, LeaseState::Held(_))).await;
    wait_for("a recovery", async || lease(&handles).counters().recoveries > 0).await;
    let confirmed = handles.tracker().confirm_session(reservation.session_id).await;
    assert_eq!(confirmed.expect("held").outcome, ConfirmationOutcome::Confirmed);
}
