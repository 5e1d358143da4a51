//! Why a session waits, and who is in its way.

use serde_json::json;

use super::Queue;
use crate::support::fixture::id;

#[tokio::test]
async fn a_waiting_session_is_told_all_that_is_in_its_way_and_who_holds_it() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_quota('user', 'alice', null, '{\"cpu\": 4}')").await;
    q.wait_for_slots(&[json!({"cpu": 3}), json!({"cpu": 2})]).await;
    q.tick("").await;
    q.tick("").await;
    let explained = format!(
        "select string_agg(concat_ws('|', status, tries, code, used, requested, max,
           holders -> 0 ->> 'session_id', remedy), E'\\n')
         from occupancy.explain_session('{}')",
        id(2)
    );
    assert_eq!(
        q.ask(&explained).await,
        format!(
            "PENDING|2|user_quota|\"3\"|\"2\"|\"4\"|{0}|end sessions that hold 1 cpu of user alice, \
             or raise its limit to 5\n\
             PENDING|2|no_agent_fits|{{\"cpu\": \"2\"}}|{{\"cpu\": \"1\"}}|{0}|free 2 cpu on one agent \
             of resource group default, or add one",
            id(1)
        )
    );
}

#[tokio::test]
async fn a_session_with_nothing_in_its_way_is_told_so() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 3})]).await;
    let told =
        format!("select status || coalesce(code, '-') from occupancy.explain_session('{}')", id(1));
    assert_eq!(q.ask(&told).await, "PENDING-");
    q.tick("").await;
    assert_eq!(q.ask(&told).await, "SCHEDULED-");
}

#[tokio::test]
async fn an_explanation_changes_nothing() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5})]).await;
    q.run("begin read only").await;
    q.ask(&format!("select code from occupancy.explain_session('{}')", id(1))).await;
    q.run("commit").await;
}

#[tokio::test]
async fn agents_and_keys_tell_who_holds_them() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 3})]).await;
    q.tick("").await;
    for call in ["explain_agent('a1')", "explain_key('AK')"] {
        let holder = format!(
            "select concat_ws('|', session_id, access_key, status, agent_id, slots)
             from occupancy.{call}"
        );
        let expected = format!("{}|AK|SCHEDULED|a1|{{\"cpu\": \"3\"}}", id(1));
        assert_eq!(q.ask(&holder).await, expected, "{call}");
    }
}

#[tokio::test]
async fn what_nobody_knows_is_not_explained() {
    let q = Queue::with(1).await;
    let session = format!("select occupancy.explain_session('{}')", id(1));
    assert_eq!(q.refused(&session, &[]).await, "OC004");
    assert_eq!(q.refused("select occupancy.explain_agent('unknown')", &[]).await, "OC003");
    assert_eq!(q.refused("select occupancy.explain_key('unknown')", &[]).await, "OC002");
}
