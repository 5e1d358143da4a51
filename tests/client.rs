//! The Rust client against the live schema.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use occupancy::schema::Runner;
use occupancy::{
    AdmissionOutcome, AgentStatus, Amount, Config, DefaultForUnspecified, DropOutcome, ErrorKind,
    Handles, Heartbeat, Keypair, PutOutcome, QUEUE_STATEMENTS, Quota, RejectionCode,
    ReleaseOutcome, Reservation, ResourcePolicy, ResourceSlots, RetryPolicy, STATEMENTS, Scope,
    SessionStatus, SessionType, SettlementOutcome, TerminationOutcome,
};
use tokio_postgres::Client;
use tracing_subscriber::fmt::format::FmtSpan;
use uuid::Uuid;

use crate::support::{TestDb, empty_database, wait_for};

const APPLICATION: &str = "client under test";

fn config(db: &TestDb) -> Config {
    let config: Config = db.client_url().parse().expect("the test database has a valid URL");
    config.with_application_name(APPLICATION)
}

fn slots(cpu: u32) -> ResourceSlots {
    ResourceSlots::new().with("cpu", cpu)
}

/// A key `AK` that may run two sessions and an agent `i-01` with 8 cores.
async fn register(handles: &Handles) {
    let policy =
        ResourcePolicy { max_concurrent_sessions: Some(2), ..ResourcePolicy::new("student") };
    handles.tracker().put_resource_policy(&policy).await.expect("policy");
    handles.tracker().put_keypair(&Keypair::new("AK", "u1", "student")).await.expect("keypair");
    let agent = Heartbeat { available_slots: Some(slots(8)), ..Heartbeat::new("i-01") };
    handles.agents().put_agent(&agent).await.expect("agent");
}

async fn handles(db: &TestDb) -> Handles {
    let handles = Handles::connect(&config(db)).await.expect("the test database answers");
    register(&handles).await;
    handles
}

fn reservation() -> Reservation {
    Reservation::new(Uuid::now_v7(), "AK").with_kernel("i-01", slots(1))
}

/// How many backends of the client fulfil the condition.
async fn backends(admin: &Client, condition: &str) -> i64 {
    let sql = format!(
        "select count(*) from pg_stat_activity
          where datname = current_database() and application_name = $1 and {condition}"
    );
    admin.query_one(&sql, &[&APPLICATION]).await.expect("pg_stat_activity").get(0)
}

/// Kills every backend of the client and waits until they are gone.
async fn terminate_backends(admin: &Client) {
    let sql = "select pg_terminate_backend(pid, 20000) from pg_stat_activity
                where datname = current_database() and application_name = $1";
    let terminated = admin.execute(sql, &[&APPLICATION]).await.expect("terminated");
    assert!(terminated > 0, "there was a backend");
}

/// Waits until a backend of the client fulfils the condition.
async fn until_backend(admin: &Client, condition: &str) {
    let what = format!("a backend of the client to fulfil {condition}");
    wait_for(&what, async || backends(admin, condition).await > 0).await;
}

const WAITING: &str = "wait_event_type = 'Lock'";

#[tokio::test]
async fn every_statement_prepares_against_the_live_schema() {
    let db = TestDb::new().await;
    let client = db.connect().await;
    for statement in STATEMENTS.iter().chain(QUEUE_STATEMENTS) {
        let prepared = client.prepare_typed(statement.sql, statement.types).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
        assert_eq!(prepared.params(), statement.types, "{}", statement.name);
        for column in prepared.columns() {
            // The driver asks the catalog about any other type: a hidden round trip.
            let ty = column.type_();
            let builtin = tokio_postgres::types::Type::from_oid(ty.oid()).is_some();
            assert!(builtin, "{}.{} is a {ty}", statement.name, column.name());
        }
    }
}

// A pooler in transaction mode gives the next message of a client to another server connection,
// where a named statement does not exist.
#[tokio::test]
async fn a_call_leaves_no_prepared_statement_behind() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let client = db.connect().await;
    Runner::embedded().expect("well-formed").check(&client).await.expect("it fits");
    handles.tracker().within(&client).get_concurrency("AK").await.expect("answered");
    let left = client.simple_query("select from pg_prepared_statements").await.expect("answered");
    assert_eq!(left.iter().filter(|message| is_row(message)).count(), 0);
}

fn is_row(message: &tokio_postgres::SimpleQueryMessage) -> bool {
    matches!(message, tokio_postgres::SimpleQueryMessage::Row(_))
}

#[tokio::test]
async fn statements_are_prepared_once_a_connection_if_asked_for() {
    let db = TestDb::new().await;
    let config = config(&db).with_pool_size(1).with_prepared_statements(true);
    register(&Handles::connect(&config).await.expect("connected")).await;
    let admin = db.connect().await;
    let log = format!("alter database {} set log_statement = 'all'", db.name());
    admin.batch_execute(&log).await.expect("altered");
    let handles = Handles::connect(&config).await.expect("connected");
    for _ in 0..3 {
        let reservation = reservation();
        let admission = handles.tracker().reserve_session(&reservation).await.expect("answered");
        assert!(admission.is_admitted());
        handles.tracker().release_session(reservation.session_id).await.expect("released");
    }
    let log = db.server_log().await;
    let names: Vec<_> = log
        .lines()
        .filter(|line| line.contains("execute ") && line.contains(" session_id, outcome"))
        .filter_map(|line| line.split("execute ").nth(1)?.split(':').next())
        .collect();
    assert_eq!(names.len(), 6, "{log}");
    assert_ne!(names[0], "<unnamed>");
    assert_ne!(names[0], names[1]);
    assert!(names.chunks(2).all(|pair| pair == &names[..2]), "{names:?}");
}

#[tokio::test]
async fn a_session_lives_and_ends() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let tracker = handles.tracker();
    let kernel_id = Uuid::now_v7();
    let reservation = Reservation::new(Uuid::now_v7(), "AK")
        .with_type(SessionType::Batch)
        .with_project("vision")
        .with_kernel("i-01", slots(1))
        .with_kernel_id(kernel_id, "i-01", ResourceSlots::new().with("cpu", "0.5"));
    let id = reservation.session_id;

    let predicates = tracker.check_session(&reservation).await.expect("checked");
    assert!(!predicates.is_empty() && predicates.iter().all(|predicate| predicate.passed));

    let admission = tracker.reserve_session(&reservation).await.expect("reserved");
    assert_eq!(admission.outcome, AdmissionOutcome::Admitted);
    assert_eq!((admission.session_id, admission.used, admission.max), (Some(id), Some(1), Some(2)));
    assert_eq!(admission.kernels.len(), 2);
    assert_eq!(admission.kernels[1].kernel_id, kernel_id);
    assert_eq!(admission.kernels[1].slots.get("cpu"), Some("0.5"));

    let again = tracker.reserve_session(&reservation).await.expect("recognised");
    assert_eq!(again.outcome, AdmissionOutcome::AlreadyAdmitted);
    assert_eq!(again.kernels, admission.kernels);

    let settled = tracker.settle_kernel(kernel_id, &slots(2)).await.expect("settled");
    assert_eq!(settled.outcome, SettlementOutcome::Settled);
    let agents = handles.agents().agent_occupancy().await.expect("listed");
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].status, AgentStatus::Alive);
    assert_eq!(agents[0].occupied_slots, ResourceSlots::new().with("cpu", "3"));

    let session = tracker.get_session(id).await.expect("found").expect("known");
    assert_eq!(session.status, SessionStatus::Running);
    assert_eq!(session.session_type, Some(SessionType::Batch));
    assert_eq!(session.project.as_deref(), Some("vision"));
    assert_eq!(session.kernels.len(), 2);

    let ended = tracker.release_kernel(kernel_id).await.expect("released");
    assert_eq!((ended.session_id, ended.session_ended), (Some(id), Some(false)));
    let terminated = tracker.terminate_session(id).await.expect("terminated");
    assert_eq!(terminated.outcome, TerminationOutcome::Terminating);
    let released = tracker.release_session(id).await.expect("released");
    assert_eq!(released.outcome, ReleaseOutcome::Released);
    let released = tracker.release_session(id).await.expect("released twice");
    assert_eq!(released.outcome, ReleaseOutcome::AlreadyReleased);

    let session = tracker.get_session(id).await.expect("found").expect("remembered");
    assert_eq!(session.status, SessionStatus::Terminated);
    assert!(session.ended_at >= Some(session.created_at));
    assert!(session.kernels.iter().all(|kernel| kernel.ended_at.is_some()));
    assert_eq!(tracker.get_session(Uuid::now_v7()).await.expect("answered"), None);
    assert_eq!(tracker.audit().await.expect("audited"), []);
}

#[tokio::test]
async fn being_full_is_an_answer_with_amounts() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let too_big = Reservation::new(Uuid::now_v7(), "AK").with_kernel("i-01", slots(9));
    let admission = handles.tracker().reserve_session(&too_big).await.expect("answered");
    assert!(!admission.is_admitted());
    assert_eq!(admission.code, Some(RejectionCode::AgentCapacity));
    let violation = &admission.violations[0];
    assert_eq!(violation.scope_id.as_deref(), Some("i-01"));
    assert_eq!(violation.slot.as_deref(), Some("cpu"));
    let amounts = [&violation.used, &violation.requested, &violation.max];
    let amounts = amounts.map(|amount| amount.as_ref().map(Amount::as_str));
    assert_eq!(amounts, [Some("0"), Some("9"), Some("8")]);

    let predicates = handles.tracker().check_session(&too_big).await.expect("checked");
    let failed: Vec<_> = predicates.iter().filter(|predicate| !predicate.passed).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code, Some(RejectionCode::AgentCapacity));
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let tracker = handles.tracker();
    let mistaken = Reservation::new(Uuid::now_v7(), "AK").with_kernel("i-99", slots(1));
    let batch = [reservation(), mistaken, reservation(), reservation()];
    let admissions = tracker.reserve_sessions(&batch).await.expect("answered");
    let ids: Vec<_> = batch.iter().map(|element| Some(element.session_id)).collect();
    assert_eq!(admissions.iter().map(|admission| admission.session_id).collect::<Vec<_>>(), ids);
    let outcomes: Vec<_> = admissions.iter().map(|admission| admission.outcome.as_str()).collect();
    assert_eq!(outcomes, ["admitted", "invalid", "admitted", "rejected"]);
    assert_eq!(admissions[1].mistake(), Some(occupancy::Code::UnknownAgent));
    assert_eq!(admissions[3].code, Some(RejectionCode::ConcurrencyLimit));

    let ids = [batch[2].session_id, Uuid::now_v7(), batch[0].session_id];
    let releases = tracker.release_sessions(&ids).await.expect("answered");
    let outcomes: Vec<_> = releases.into_iter().map(|release| release.outcome).collect();
    let expected = [ReleaseOutcome::Released, ReleaseOutcome::Unknown, ReleaseOutcome::Released];
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn the_registry_answers_what_became_of_an_entry() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let (tracker, agents) = (handles.tracker(), handles.agents());
    let quota = Quota {
        max_concurrent_sessions: Some(1),
        total_resource_slots: Some(ResourceSlots::new().with("cpu", "Infinity")),
        default_for_unspecified: DefaultForUnspecified::Limited,
        ..Quota::new(Scope::User, "u1")
    };
    assert_eq!(tracker.put_quota(&quota).await.expect("put"), PutOutcome::Created);
    assert_eq!(tracker.put_quota(&quota).await.expect("put"), PutOutcome::Replaced);

    tracker.reserve_session(&reservation()).await.expect("admitted").kernels.first().expect("one");
    let refused = tracker.reserve_session(&reservation()).await.expect("answered");
    assert_eq!(refused.code, Some(RejectionCode::UserQuota));

    assert_eq!(agents.drop_agent("i-01").await.expect("answered"), DropOutcome::InUse);
    assert_eq!(tracker.drop_keypair("AK").await.expect("answered"), DropOutcome::InUse);
    let answer = tracker.drop_resource_policy("student").await.expect("answered");
    assert_eq!(answer, DropOutcome::InUse);

    assert_eq!(tracker.clear_concurrency("AK").await.expect("cleared"), 1);
    assert_eq!(tracker.get_concurrency("AK").await.expect("counted").compute_used, 0);
    assert_eq!(tracker.prune_ended(Duration::ZERO).await.expect("pruned"), 1);
    let dropped = tracker.drop_quota(&Scope::User, "u1").await.expect("answered");
    assert_eq!(dropped, DropOutcome::Dropped);
    assert_eq!(agents.drop_agent("i-01").await.expect("answered"), DropOutcome::Dropped);
    assert_eq!(agents.drop_agent("i-01").await.expect("answered"), DropOutcome::Unknown);
}

#[tokio::test]
async fn a_recalculation_of_what_is_right_corrects_nothing() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let (tracker, agents) = (handles.tracker(), handles.agents());
    tracker.put_quota(&Quota::new(Scope::User, "u1")).await.expect("quota");
    let reservation = reservation();
    assert!(tracker.reserve_session(&reservation).await.expect("answered").is_admitted());
    let id = reservation.session_id;
    assert_eq!(tracker.recalc_concurrency("AK").await.expect("recounted"), []);
    assert_eq!(tracker.recalc_concurrency_fullscan().await.expect("recounted"), []);
    assert_eq!(tracker.recalc_quota(&Scope::User, "u1").await.expect("recounted"), []);
    assert_eq!(tracker.recalc_quotas_fullscan().await.expect("recounted"), []);
    assert_eq!(agents.recalc_agents_by_session(id).await.expect("recounted"), []);
    assert_eq!(agents.recalc_agents_fullscan().await.expect("recounted"), []);

    let admin = db.connect().await;
    let tamper = "update occupancy.agent set occupied_slots = '{\"cpu\": \"7\"}'";
    admin.batch_execute(tamper).await.expect("tampered");
    assert_ne!(tracker.audit().await.expect("audited"), []);
    let corrections = agents.recalc_agent("i-01").await.expect("recounted");
    assert_eq!(corrections.len(), 1);
    assert!(corrections[0].subject.contains("i-01"), "{corrections:?}");
    assert_eq!(tracker.audit().await.expect("audited"), []);
}

#[tokio::test]
async fn a_reservation_and_a_row_of_the_caller_commit_or_vanish_together() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let mut client = config(&db).connect().await.expect("connected");
    client.batch_execute("create table job (session_id uuid primary key)").await.expect("a table");
    let observer = db.connect().await;

    let reservation = reservation();
    for commit in [false, true] {
        let transaction = client.transaction().await.expect("begun");
        let tracker = handles.tracker().within(&transaction);
        let agents = handles.agents().within(&transaction);
        assert!(tracker.reserve_session(&reservation).await.expect("answered").is_admitted());
        agents.put_agent(&Heartbeat::new("i-01")).await.expect("alive");
        transaction
            .execute("insert into job values ($1)", &[&reservation.session_id])
            .await
            .expect("inserted");
        if commit {
            transaction.commit().await.expect("committed");
        } else {
            transaction.rollback().await.expect("rolled back");
        }
        let jobs: i64 =
            observer.query_one("select count(*) from job", &[]).await.expect("counted").get(0);
        let used = handles.tracker().get_concurrency("AK").await.expect("counted").compute_used;
        assert_eq!((jobs, used), (i64::from(commit), i64::from(commit)));
    }
}

#[tokio::test]
async fn a_rejection_leaves_the_callers_transaction_alive() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let mut client = db.connect().await;
    let transaction = client.transaction().await.expect("begun");
    let tracker = handles.tracker().within(&transaction);
    let too_big = Reservation::new(Uuid::now_v7(), "AK").with_kernel("i-01", slots(9));
    assert!(!tracker.reserve_session(&too_big).await.expect("answered").is_admitted());
    assert!(tracker.reserve_session(&reservation()).await.expect("answered").is_admitted());
    transaction.commit().await.expect("committed");
}

#[tokio::test]
async fn a_mistake_carries_its_code_and_is_not_repeated() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let stranger = Reservation::new(Uuid::now_v7(), "nobody").with_kernel("i-01", slots(1));
    let error = handles.tracker().reserve_session(&stranger).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Refused(occupancy::Code::UnknownAccessKey));
    assert_eq!(error.sqlstate(), Some("OC002"));
    assert!(error.detail_text().is_some_and(|detail| detail.contains("nobody")));
    assert!(error.hint_text().is_some());
}

// A manager waits for a hot row when its backend dies under it. It cannot know whether the server
// had committed; it asks again with the same id.
#[tokio::test]
async fn a_call_survives_the_death_of_its_backend() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let mut admin = db.connect().await;
    let blocker = admin.transaction().await.expect("begun");
    let lock = "select from occupancy.keypair where access_key = 'AK' for update";
    blocker.batch_execute(lock).await.expect("locked");

    let reservation = reservation();
    let call = {
        let (tracker, reservation) = (handles.tracker().clone(), reservation.clone());
        tokio::spawn(async move { tracker.reserve_session(&reservation).await })
    };
    let observer = db.connect().await;
    until_backend(&observer, WAITING).await;
    terminate_backends(&observer).await;
    until_backend(&observer, WAITING).await;
    blocker.rollback().await.expect("unlocked");

    let admission = call.await.expect("no panic").expect("survived");
    assert!(admission.is_admitted());
    assert_eq!(handles.tracker().get_concurrency("AK").await.expect("counted").compute_used, 1);
}

#[tokio::test]
async fn a_call_after_every_backend_died_finds_a_new_one() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let admin = db.connect().await;
    terminate_backends(&admin).await;
    assert!(handles.tracker().reserve_session(&reservation()).await.expect("ok").is_admitted());
}

// After a failover the former primary may answer on as a standby: every write fails with 25006
// until the connection is replaced by one to the new primary.
#[tokio::test]
async fn a_connection_that_became_read_only_is_replaced() {
    let db = TestDb::new().await;
    register(&Handles::connect(&config(&db)).await.expect("connected")).await;
    let admin = db.connect().await;
    // Binds every session to come, but not this one.
    let read_only = async |setting: &str| {
        let database = "select quote_ident(current_database())";
        let database: String = admin.query_one(database, &[]).await.expect("named").get(0);
        let sql =
            format!("alter database {database} set default_transaction_read_only = {setting}");
        admin.batch_execute(&sql).await.expect("altered");
    };

    read_only("on").await;
    let patient = RetryPolicy {
        max_attempts: u32::MAX,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
        ..RetryPolicy::default()
    };
    let handles = Handles::connect(&config(&db).with_retry(patient)).await.expect("connected");
    let newest = "select max(backend_start)::text from pg_stat_activity
                   where datname = current_database() and application_name = $1";
    let newest: String = admin.query_one(newest, &[&APPLICATION]).await.expect("seen").get(0);
    let call = {
        let tracker = handles.tracker().clone();
        tokio::spawn(async move { tracker.reserve_session(&reservation()).await })
    };
    until_backend(&admin, &format!("backend_start > '{newest}'")).await;
    read_only("off").await;
    assert!(call.await.expect("no panic").expect("replaced").is_admitted());
}

/// The settings of the test database behind a host on which nobody listens.
fn behind_a_dead_host(db: &TestDb) -> String {
    use tokio_postgres::config::Host;

    let live: tokio_postgres::Config = db.url().parse().expect("valid");
    let host = match &live.get_hosts()[0] {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.display().to_string(),
    };
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let password = String::from_utf8_lossy(live.get_password().unwrap_or_default());
    format!(
        "host=127.0.0.1,{host} port=1,{port} user={user} dbname={database} password={password} \
         target_session_attrs=read-write",
        port = live.get_ports().first().unwrap_or(&5432),
        user = quoted(live.get_user().unwrap_or("postgres")),
        database = quoted(live.get_dbname().expect("named")),
        password = quoted(&password),
    )
}

#[tokio::test]
async fn the_host_that_takes_writes_is_found() {
    let db = TestDb::new().await;
    let config: Config = behind_a_dead_host(&db).parse().expect("valid");
    let handles = Handles::connect(&config).await.expect("the second host answers");
    register(&handles).await;
    assert!(handles.tracker().reserve_session(&reservation()).await.expect("ok").is_admitted());
}

#[tokio::test]
async fn a_host_on_which_nobody_listens_is_reported_at_once() {
    let config: Config = "postgresql://me:hunter2@127.0.0.1:1/none".parse().expect("valid");
    let connect = tokio::time::timeout(Duration::from_secs(5), Handles::connect(&config));
    let error = connect.await.expect("without retries").expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_schema_that_does_not_fit_is_refused() {
    let db = empty_database().await;
    let error = Handles::connect(&config(&db)).await.expect_err("nothing is installed");
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.hint_text().is_some());
}

const BREAKING: &str = "
    insert into occupancy.schema_migration (version, name, applied_on, checksum, compatibility)
    values (1000000, 'later', '2100-01-01T00:00:00Z', '1', 'breaking')";

// The process runs on while a later release, which this one cannot work with, is installed.
#[tokio::test]
async fn a_new_connection_notices_a_breaking_migration() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let admin = db.connect().await;
    admin.batch_execute(BREAKING).await.expect("recorded");
    handles.tracker().get_concurrency("AK").await.expect("what is connected goes on");
    terminate_backends(&admin).await;
    let error = handles.tracker().get_concurrency("AK").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Schema);
    let error = handles.tracker().get_concurrency("AK").await.expect_err("refused again");
    assert_eq!(error.kind(), ErrorKind::Schema);
}

#[tokio::test]
async fn an_exhausted_pool_says_so() {
    let db = TestDb::new().await;
    let small = config(&db).with_pool_size(1).with_wait_timeout(Duration::from_millis(50));
    let handles = Handles::connect(&small).await.expect("connected");
    register(&handles).await;
    let mut admin = db.connect().await;
    let blocker = admin.transaction().await.expect("begun");
    let lock = "select from occupancy.keypair where access_key = 'AK' for update";
    blocker.batch_execute(lock).await.expect("locked");
    let tracker = handles.tracker().clone();
    let call = tokio::spawn(async move { tracker.reserve_session(&reservation()).await });
    let observer = db.connect().await;
    until_backend(&observer, WAITING).await;

    let error = handles.tracker().get_concurrency("AK").await.expect_err("no connection is free");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    blocker.rollback().await.expect("unlocked");
    assert!(call.await.expect("no panic").expect("answered").is_admitted());
}

// A manager of the former version runs on while a migration gives an answer one more column.
#[tokio::test]
async fn a_running_client_survives_a_new_result_column() {
    survives_a_new_result_column(false).await;
}

#[tokio::test]
async fn prepared_statements_survive_a_new_result_column() {
    survives_a_new_result_column(true).await;
}

async fn survives_a_new_result_column(prepared: bool) {
    let db = TestDb::new().await;
    let config = config(&db).with_pool_size(1).with_prepared_statements(prepared);
    let handles = Handles::connect(&config).await.expect("connected");
    register(&handles).await;
    let admin = db.connect().await;
    let upgrade = r"
        begin;
        alter type occupancy.registration add attribute note text;
        do $do$
        declare
          definition text;
        begin
          for definition in
            select pg_get_functiondef(oid) from pg_proc
            where prorettype = 'occupancy.registration'::regtype
          loop
            execute regexp_replace(
              definition, 'row\((.+?)\)::occupancy.registration',
              'row(\1, ''new'')::occupancy.registration', 'g');
          end loop;
        end;
        $do$;
        commit;";
    admin.batch_execute(upgrade).await.expect("upgraded");
    let note = "select note from occupancy.put_agent('i-01')";
    assert_eq!(admin.query_one(note, &[]).await.expect("upgraded").get::<_, &str>(0), "new");
    let answer = handles.agents().put_agent(&Heartbeat::new("i-01")).await;
    assert_eq!(answer.expect("still understood"), PutOutcome::Replaced);
}

/// Everything that a subscriber wrote.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_span_tells_the_call_and_none_of_its_arguments() {
    let db = TestDb::new().await;
    let config = config(&db).without_lease();
    let handles = Handles::connect(&config).await.expect("the test database answers");
    register(&handles).await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .finish();
    let reservation = Reservation::new(Uuid::now_v7(), "AK")
        .with_kernel("i-01", ResourceSlots::new().with("cpu", "8.0625"));
    {
        // This runtime has one thread, so that the calls are polled under this subscriber.
        let _guard = tracing::subscriber::set_default(subscriber);
        let stranger = Reservation { access_key: "secretive".into(), ..reservation.clone() };
        let rejected = handles.tracker().reserve_session(&reservation).await.expect("answered");
        assert!(!rejected.is_admitted());
        handles.tracker().reserve_session(&stranger).await.expect_err("unknown key");
    }
    let text = String::from_utf8(log.0.lock().expect("unpoisoned").clone()).expect("UTF-8");
    let spans: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|event| event["fields"]["message"] == "close")
        .map(|event| event["span"].clone())
        .collect();
    assert_eq!(spans.len(), 2, "{text}");
    assert_eq!(spans[0]["function"], "reserve_session");
    assert_eq!(spans[0]["outcome"], "rejected");
    assert_eq!(spans[0]["code"], "agent_capacity");
    assert_eq!(spans[0]["attempts"], 1);
    assert!(spans[0]["duration_ms"].as_f64().is_some_and(|milliseconds| milliseconds > 0.0));
    assert_eq!(spans[1]["outcome"], "error");
    assert_eq!(spans[1]["code"], "OC002");
    for secret in ["8.0625", "secretive", "i-01"] {
        assert!(!text.contains(secret), "{text}");
    }
}
