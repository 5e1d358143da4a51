//! Counts and views: what runs, where, since when.

use serde_json::{Value, json};

use crate::support::fixture::{Fixture, each, id, request, with};

/// A batch session 1 with kernels 11 and 12, of which the first is settled; a terminating session
/// 2; a system session 3; a session 4 that ended.
async fn running() -> Fixture {
    let f = Fixture::new().await;
    f.outcome("put_resource_policy('open', 5, null, '{\"cpu\": 40}', 'UNLIMITED')").await;
    f.outcome("put_quota('project', 'x', 7)").await;
    let kernels = json!([
        {"kernel_id": id(11), "agent": "i-01", "slots": {"cpu": 1}},
        {"kernel_id": id(12), "agent": "i-02", "slots": {"cpu": 2}},
    ]);
    let fields = json!({"kernels": kernels, "session_type": "batch", "project": "x"});
    f.reserve(&with(request(1, "AK", &[]), fields)).await;
    for n in 2..=4 {
        let session_type = if n == 3 { "system" } else { "interactive" };
        let one = request(n, "AK", &[("i-03", json!({"cpu": 1}))]);
        f.reserve(&with(one, json!({"session_type": session_type}))).await;
    }
    f.outcome(&format!("settle_kernel('{}', '{{\"cpu\": 3}}')", id(11))).await;
    f.outcome(&format!("terminate_session('{}')", id(2))).await;
    f.outcome(&format!("release_session('{}')", id(4))).await;
    f
}

/// Takes the moments out of a row, which must be there or not, and returns the rest.
fn without_moments(mut row: Value, present: &[&str], absent: &[&str]) -> Value {
    let fields = row.as_object_mut().expect("a row");
    for moment in present {
        assert!(fields.remove(*moment).is_some_and(|value| value.is_string()), "{moment}");
    }
    for moment in absent {
        assert_eq!(fields.remove(*moment), Some(Value::Null), "{moment}");
    }
    row
}

#[tokio::test]
async fn get_concurrency_counts_each_class_beside_its_limit() {
    let f = running().await;
    let call = "select * from occupancy.get_concurrency($1)";
    let count = |key, compute, system| {
        json!({"access_key": key, "compute_used": compute, "compute_max": 5,
               "system_used": system, "system_max": null})
    };
    assert_eq!(f.row(call, &[&"AK"]).await, count("AK", 1, 1));
    assert_eq!(f.row(call, &[&"BK"]).await, count("BK", 0, 0));
    assert_eq!(f.refused(call, &[&"nobody"]).await, "OC002");
    for name in [None, Some(String::new()), Some("x".repeat(257))] {
        assert_eq!(f.refused(call, &[&name]).await, "OC005");
    }
}

#[tokio::test]
async fn get_session_shows_a_session_that_lives_or_is_remembered() {
    let f = running().await;
    let call = "select * from occupancy.get_session($1)";
    let session = f.row(call, &[&id(1)]).await;
    let session = without_moments(session, &["created_at"], &["terminating_at", "ended_at"]);
    let expected = json!({
        "session_id": id(1), "status": "RUNNING", "access_key": "AK", "session_type": "batch",
        "user_id": "u1", "project": "x", "resource_group": "g1", "domain": "d1",
        "kernels": [
            {"kernel_id": id(11), "agent": "i-01", "slots": {"cpu": "3"}, "ended_at": null},
            {"kernel_id": id(12), "agent": "i-02", "slots": {"cpu": "2"}, "ended_at": null},
        ],
    });
    assert_eq!(session, expected);

    f.outcome(&format!("release_kernel('{}')", id(11))).await;
    let kernels = f.row(call, &[&id(1)]).await["kernels"].take();
    assert_eq!(kernels[0]["slots"], json!({"cpu": "3"}));
    assert!(kernels[0]["ended_at"].is_string() && kernels[1]["ended_at"].is_null());

    let terminating = f.row(call, &[&id(2)]).await;
    assert_eq!(terminating["status"], "TERMINATING");
    without_moments(terminating, &["created_at", "terminating_at"], &["ended_at"]);
    let ended = f.row(call, &[&id(4)]).await;
    assert_eq!(ended["status"], "TERMINATED");
    without_moments(ended, &["created_at", "ended_at"], &["terminating_at"]);

    f.outcome(&format!("release_session('{}')", id(5))).await;
    let cancelled = f.row(call, &[&id(5)]).await;
    assert_eq!(
        (&cancelled["status"], &cancelled["access_key"]),
        (&json!("CANCELLED"), &Value::Null)
    );
    assert_eq!(f.rows(call, &[&id(9)]).await, Vec::<Value>::new());
    assert_eq!(f.refused(call, &[&None::<uuid::Uuid>]).await, "OC005");
}

#[tokio::test]
async fn the_view_sessions_lists_who_lives() {
    let f = running().await;
    let rows = f.rows("select * from occupancy.sessions order by session_id", &[]).await;
    assert_eq!(each(&rows, "session_id"), [1, 2, 3].map(|n| id(n).to_string()));
    assert_eq!(each(&rows, "status"), ["RUNNING", "TERMINATING", "RUNNING"]);
    let first = without_moments(rows[0].clone(), &["created_at"], &["terminating_at"]);
    let expected = json!({
        "session_id": id(1), "status": "RUNNING", "access_key": "AK", "session_type": "batch",
        "user_id": "u1", "project": "x", "resource_group": "g1", "domain": "d1",
        "live_kernels": 2,
    });
    assert_eq!(first, expected);
}

#[tokio::test]
async fn the_view_kernels_lists_what_lives_where() {
    let f = running().await;
    let rows = f.rows("select * from occupancy.kernels order by kernel_id", &[]).await;
    assert_eq!(rows.len(), 4);
    let expected = json!({
        "kernel_id": id(11), "session_id": id(1), "agent_id": "i-01", "access_key": "AK",
        "status": "RUNNING", "requested_slots": {"cpu": "1"}, "occupied_slots": {"cpu": "3"},
    });
    assert_eq!(without_moments(rows[0].clone(), &["created_at"], &[]), expected);
    assert_eq!(rows[1]["occupied_slots"], json!({"cpu": "2"}));
}

#[tokio::test]
async fn the_view_concurrency_shows_use_beside_limits() {
    let f = running().await;
    let row = f.row("select * from occupancy.concurrency where access_key = 'AK'", &[]).await;
    let expected = json!({
        "access_key": "AK", "user_id": "u1", "domain": "d1", "resource_policy": "open",
        "is_active": true, "compute_used": 1, "compute_max": 5, "system_used": 1,
        "system_max": null, "occupied_slots": {"cpu": "5"}, "total_resource_slots": {"cpu": "40"},
        "default_for_unspecified": "UNLIMITED",
    });
    assert_eq!(row, expected);
}

#[tokio::test]
async fn the_view_agent_occupancy_shows_slots_as_objects() {
    let f = running().await;
    let rows = f.rows("select * from occupancy.agent_occupancy order by agent_id", &[]).await;
    assert_eq!(each(&rows, "agent_id"), ["i-01", "i-02", "i-03", "j-01"]);
    let expected = json!({
        "agent_id": "i-03", "resource_group": "g1", "status": "ALIVE", "schedulable": true,
        "available_slots": {"cpu": "8", "mem": "68719476736"}, "occupied_slots": {"cpu": "2"},
    });
    assert_eq!(without_moments(rows[2].clone(), &["heartbeat_at"], &[]), expected);
}

#[tokio::test]
async fn the_view_quotas_shows_use_beside_limits() {
    let f = running().await;
    let expected = json!({
        "scope": "project", "scope_id": "x", "used": 1, "max_concurrent_sessions": 7,
        "occupied_slots": {"cpu": "5"}, "total_resource_slots": null,
        "default_for_unspecified": "UNLIMITED",
    });
    assert_eq!(f.row("select * from occupancy.quotas", &[]).await, expected);
}

#[tokio::test]
async fn session_concurrency_holds_who_has_a_slot_once() {
    let f = running().await;
    let rows = f.rows("select * from occupancy.session_concurrency order by session_id", &[]).await;
    let slot = |n, system| json!({"access_key": "AK", "session_id": id(n), "system": system});
    assert_eq!(rows, [slot(1, false), slot(3, true)]);
    let insert = "insert into occupancy.session_concurrency values ($1, $2, false)";
    for key in ["AK", "BK"] {
        assert_eq!(f.refused(insert, &[&key, &id(1)]).await, "23505");
    }
}
