//! The life of a session.

use serde_json::json;

use super::{Queue, wanting};
use crate::support::fixture::id;

/// Every state, in the order of a life without trouble.
const STATES: [&str; 11] = [
    "PENDING",
    "SCHEDULED",
    "PREPARING",
    "PULLING",
    "PREPARED",
    "CREATING",
    "RUNNING",
    "ERROR",
    "TERMINATING",
    "TERMINATED",
    "CANCELLED",
];

/// Brings session `n`, which waits, to a state.
async fn bring(q: &Queue, n: u128, state: &str) {
    if state == "PENDING" {
        return;
    }
    if state == "CANCELLED" {
        assert_eq!(q.set_status(n, state).await, "changed");
        return;
    }
    q.tick("").await;
    if state != "SCHEDULED" {
        assert_eq!(q.set_status(n, state).await, "changed", "{n} to {state}");
    }
}

#[tokio::test]
async fn a_state_follows_only_those_that_may_come_before_it() {
    let q = Queue::with(40).await;
    let mut n = 0;
    for (from_rank, from) in STATES.iter().enumerate() {
        for (to_rank, to) in STATES.iter().enumerate() {
            n += 1;
            q.enqueued(wanting(n, "AK", json!({"cpu": "0.1"}))).await;
            bring(&q, n, from).await;
            let legal = match (*from, *to) {
                (from, to) if from == to => "unchanged",
                ("PENDING", "CANCELLED") => "changed",
                ("PENDING" | "TERMINATED" | "CANCELLED", _)
                | (_, "PENDING" | "SCHEDULED" | "CANCELLED") => "OC007",
                _ if from_rank < to_rank => "changed",
                _ => "OC007",
            };
            assert_eq!(q.set_status(n, to).await, legal, "{from} to {to}");
            let expected = if legal == "changed" { to } else { from };
            assert_eq!(q.status(n).await, *expected, "{from} to {to}");
        }
    }
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn an_illegal_transition_names_both_states() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    let sql = format!("select occupancy.set_session_status('{}', 'RUNNING')", id(1));
    let error = q.platform.admin.batch_execute(&sql).await.expect_err("illegal");
    let error = error.as_db_error().expect("the server's");
    assert_eq!(error.message(), "a session that is pending cannot become running");
    assert_eq!(error.detail(), Some("from PENDING to RUNNING"));
}

#[tokio::test]
async fn each_change_is_recorded_with_time_and_reason() {
    let q = Queue::with(1).await;
    q.at("2030-01-01 10:00:00Z").await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.at("2030-01-01 10:00:01Z").await;
    q.tick("").await;
    q.at("2030-01-01 10:00:02Z").await;
    q.set_status(1, "RUNNING").await;
    q.at("2030-01-01 10:00:03Z").await;
    q.release(1).await;
    let history = "select string_agg(
        concat_ws(' ', extract(second from changed_at)::int, from_status, to_status, reason),
        ', ' order by position) from occupancy.history";
    assert_eq!(
        q.ask(history).await,
        "0 PENDING enqueued, 1 PENDING SCHEDULED placed, 2 SCHEDULED RUNNING a test, \
         3 RUNNING TERMINATED released"
    );
}

#[tokio::test]
async fn an_end_has_a_reason_even_if_none_is_given() {
    let q = Queue::with(1).await;
    for n in 1..=3 {
        q.enqueued(wanting(n, "AK", json!({"cpu": 1}))).await;
    }
    let end = |n, to: &str, reason: &str| {
        format!("select occupancy.set_session_status('{}', '{to}'{reason})", id(n))
    };
    q.run(&end(1, "CANCELLED", "")).await;
    q.tick("").await;
    q.run(&end(2, "TERMINATING", "")).await;
    q.run(&end(3, "TERMINATED", ", 'it is done'")).await;
    let reasons = "select string_agg(to_status || ': ' || reason, ', ' order by position)
                   from occupancy.history where to_status not in ('PENDING', 'SCHEDULED')";
    assert_eq!(
        q.ask(reasons).await,
        "CANCELLED: released, TERMINATING: terminated, TERMINATED: it is done"
    );
}

#[tokio::test]
async fn an_error_keeps_what_it_holds_until_it_is_released() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 3}))).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 3}))).await;
    q.tick("").await;
    assert_eq!(q.set_status(1, "ERROR").await, "changed");
    assert_eq!(q.platform.used("AK").await, 1);
    assert_eq!(q.tick("").await, ["2 waiting no_agent_fits"]);
    q.release(1).await;
    assert_eq!(q.tick("").await, ["2 -> a1"]);
}

#[tokio::test]
async fn a_session_without_the_queue_leaves_no_history() {
    let q = Queue::with(1).await;
    let kernels = json!([{"agent": "a1", "slots": {"cpu": 1}}]);
    q.run(&format!("select occupancy.reserve_session('{}', 'AK', '{kernels}')", id(1))).await;
    assert_eq!(q.status(1).await, "RUNNING");
    q.release(1).await;
    assert_eq!(q.ask("select count(*) from occupancy.history").await, "0");
}

#[tokio::test]
async fn a_placed_session_ends_kernel_by_kernel_like_a_reserved_one() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.tick("").await;
    q.run(&format!("select occupancy.terminate_session('{}')", id(1))).await;
    assert_eq!(q.status(1).await, "TERMINATING");
    q.platform.assert_sound().await;
    q.run("select occupancy.release_kernel(kernel_id) from occupancy.kernels").await;
    assert_eq!(q.status(1).await, "TERMINATED");
    q.platform.assert_empty().await;
}
