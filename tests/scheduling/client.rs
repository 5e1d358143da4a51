//! The queue from Rust.

use std::time::Duration;

use occupancy::{
    CancelOutcome, ClusterMode, Code, Config, EnqueueOutcome, Handles, Heartbeat, Keypair, Policy,
    QueueCode, ResourcePolicy, ResourceSlots, Selector, SessionRequest, SessionStatus, SessionType,
    Tick, TransitionOutcome,
};
use uuid::Uuid;

use crate::support::TestDb;

fn slots(cpu: u32) -> ResourceSlots {
    ResourceSlots::new().with("cpu", cpu)
}

fn request(cpu: u32) -> SessionRequest {
    SessionRequest::new(Uuid::now_v7(), "AK").with_kernel(slots(cpu))
}

/// Key `AK`, of which three sessions may wait, and agents `a1` and `a2` of 4 cpu each.
async fn handles(db: &TestDb) -> Handles {
    let config: Config = db.client_url().parse().expect("the test database has a valid URL");
    let handles = Handles::connect(&config).await.expect("the test database answers");
    let policy = ResourcePolicy { max_pending_sessions: Some(3), ..ResourcePolicy::new("open") };
    handles.tracker().put_resource_policy(&policy).await.expect("policy");
    handles.tracker().put_keypair(&Keypair::new("AK", "alice", "open")).await.expect("keypair");
    for agent in ["a1", "a2"] {
        let agent = Heartbeat { available_slots: Some(slots(4)), ..Heartbeat::new(agent) };
        handles.agents().put_agent(&agent).await.expect("agent");
    }
    handles
}

#[tokio::test]
async fn a_session_waits_is_placed_runs_and_ends() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let queue = handles.queue();
    let first = SessionRequest::new(Uuid::now_v7(), "AK")
        .with_type(SessionType::Batch)
        .with_project("vision")
        .with_priority(20)
        .with_cluster_mode(ClusterMode::MultiNode)
        .with_kernel_on("a2", slots(4))
        .with_kernel(slots(3));
    for outcome in [EnqueueOutcome::Enqueued, EnqueueOutcome::AlreadyEnqueued] {
        let answer = queue.enqueue_session(&first).await.expect("answered");
        assert_eq!((answer.session_id, &answer.outcome), (first.session_id, &outcome));
        assert!(answer.is_accepted());
    }
    let second = request(2).with_dependency(first.session_id);
    assert!(queue.enqueue_session(&second).await.expect("answered").is_accepted());

    let states = queue.get_queues(Some("default")).await.expect("counted");
    let [state] = states.as_slice() else { panic!("one queue: {states:?}") };
    assert_eq!((state.sessions, state.untried), (2, 2));
    assert!(state.oldest_seconds >= 0.0);

    let tick = Tick { policy: Policy::Drf, selector: Selector::Concentrated, ..Tick::default() };
    let looked_at = queue.schedule_sessions(&tick).await.expect("ticked");
    let [placed, waiting] = looked_at.as_slice() else { panic!("two: {looked_at:?}") };
    assert!(placed.is_placed() && placed.session_id == first.session_id);
    let agents: Vec<_> = placed.kernels.iter().map(|kernel| kernel.agent.as_str()).collect();
    assert_eq!(agents, ["a2", "a1"]);
    assert!(!waiting.is_placed());
    assert_eq!(waiting.code, Some(QueueCode::Dependencies));
    assert_eq!(waiting.violations.len(), 2, "{waiting:?}");

    let waits = queue.queue("default").await.expect("listed");
    let [waits] = waits.as_slice() else { panic!("one: {waits:?}") };
    assert_eq!((waits.session_id, waits.tries), (second.session_id, 1));
    assert_eq!(waits.dependencies, second.dependencies);
    assert_eq!(waits.code, Some(QueueCode::Dependencies));
    assert_eq!(waits.total_slots, slots(2));

    let explained = queue.explain_session(second.session_id).await.expect("explained");
    let codes: Vec<_> = explained.iter().filter_map(|each| each.code.clone()).collect();
    assert_eq!(codes, [QueueCode::Dependencies, QueueCode::NoAgentFits]);
    assert_eq!(explained[0].status, SessionStatus::Pending);
    assert!(explained[1].remedy.as_deref().is_some_and(|text| text.contains("free 2 cpu")));
    let holdings = queue.explain_agent("a2").await.expect("explained");
    assert_eq!(holdings.len(), 1);
    assert_eq!(holdings[0].status, SessionStatus::Scheduled);
    assert_eq!(queue.explain_key("AK").await.expect("explained").len(), 2);

    let running = SessionStatus::Running;
    let changed = queue.set_session_status(first.session_id, &running, Some("it answers")).await;
    let changed = changed.expect("legal");
    assert_eq!(changed.outcome, TransitionOutcome::Changed);
    assert_eq!((changed.from_status, changed.to_status), (SessionStatus::Scheduled, running));
    let back = queue.set_session_status(first.session_id, &SessionStatus::Pulling, None).await;
    assert_eq!(back.expect_err("illegal").code(), Some(Code::IllegalTransition));
    handles.tracker().release_session(first.session_id).await.expect("released");
    let history = queue.history(first.session_id).await.expect("kept");
    let states: Vec<_> = history.iter().map(|change| change.to_status.as_str()).collect();
    assert_eq!(states, ["PENDING", "SCHEDULED", "RUNNING", "TERMINATED"]);
    assert_eq!(history[2].reason.as_deref(), Some("it answers"));

    let looked_at = queue.schedule_sessions(&tick).await.expect("ticked");
    assert!(looked_at[0].is_placed(), "its dependency has ended with success: {looked_at:?}");
    assert_eq!(queue.get_queues(None).await.expect("counted"), []);
    assert_eq!(handles.tracker().audit().await.expect("audited"), []);
}

#[tokio::test]
async fn a_session_that_may_not_wait_or_no_longer_wants_to_is_told_so() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let queue = handles.queue();
    let requests = [request(1), request(1), request(1)];
    for request in &requests {
        assert!(queue.enqueue_session(request).await.expect("answered").is_accepted());
    }
    let fourth = queue.enqueue_session(&request(1)).await.expect("answered");
    assert_eq!(fourth.outcome, EnqueueOutcome::Rejected);
    assert_eq!(fourth.code, Some(QueueCode::PendingSessions));
    assert_eq!(fourth.violations[0].max, Some(3.into()));
    let unknown = queue.enqueue_session(&request(1).with_priority(101)).await;
    assert_eq!(unknown.expect_err("refused").code(), Some(Code::InvalidArgument));

    for outcome in [CancelOutcome::Cancelled, CancelOutcome::AlreadyCancelled] {
        let answer = queue.cancel_session(requests[0].session_id).await.expect("answered");
        assert_eq!(answer.outcome, outcome);
    }
    assert_eq!(queue.expire_pending(Duration::from_secs(3600)).await.expect("expired"), 0);
    assert_eq!(queue.expire_pending(Duration::ZERO).await.expect("expired"), 2);
    let session = handles.tracker().get_session(requests[2].session_id).await.expect("answered");
    assert_eq!(session.expect("remembered").status, SessionStatus::Cancelled);
    assert_eq!(queue.recalc_queue("AK").await.expect("recounted"), []);
    assert_eq!(queue.recalc_queue_fullscan().await.expect("recounted"), []);
    let unknown = Tick { policy: "fairest".into(), ..Tick::default() };
    let refused = queue.schedule_sessions(&unknown).await.expect_err("no such policy");
    assert_eq!(refused.code(), Some(Code::InvalidArgument));
}

#[tokio::test]
async fn a_tick_in_the_callers_transaction_is_undone_with_it() {
    let db = TestDb::new().await;
    let handles = handles(&db).await;
    let waits = request(1);
    assert!(handles.queue().enqueue_session(&waits).await.expect("answered").is_accepted());
    let mut client = db.connect().await;
    let transaction = client.transaction().await.expect("begun");
    let queue = handles.queue().within(&transaction);
    assert!(queue.schedule_sessions(&Tick::default()).await.expect("ticked")[0].is_placed());
    transaction.rollback().await.expect("undone");
    let state = handles.tracker().get_session(waits.session_id).await.expect("answered");
    assert_eq!(state.expect("known").status, SessionStatus::Pending);
}
