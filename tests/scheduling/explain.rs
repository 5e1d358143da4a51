//! Why a session waits, and who is in its way.

use serde_json::json;

use super::{Queue, but, wanting};
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
async fn whoever_holds_an_agent_is_in_the_way_until_each_kernel_ends() {
    let q = Queue::with(2).await;
    q.enqueued(but(wanting(1, "AK", json!({"cpu": 4})), json!({"session_type": "system"}))).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 3}))).await;
    q.tick("").await;
    q.run(&format!("select occupancy.terminate_session('{}')", id(2))).await;
    // Of another group, where nobody is in the way.
    q.run("select occupancy.put_agent('b1', '{\"cpu\": 4}', 'other')").await;
    q.enqueued(but(wanting(3, "AK", json!({"cpu": 4})), json!({"resource_group": "other"}))).await;
    q.tick("'other'").await;
    q.enqueued(wanting(4, "BK", json!({"cpu": 2, "aaa": 0}))).await;
    let holders = format!(
        "select string_agg(concat_ws(' ', h ->> 'session_id', h ->> 'status'), ', ' order by n)
         from occupancy.explain_session('{}') as e
         cross join jsonb_array_elements(e.holders) with ordinality as h (h, n)
         where e.code = 'no_agent_fits'",
        id(4)
    );
    assert_eq!(q.ask(&holders).await, format!("{} SCHEDULED, {} TERMINATING", id(1), id(2)));
}

#[tokio::test]
async fn an_agent_that_may_be_given_nothing_is_said_to_be_so() {
    let q = Queue::with(1).await;
    let on_a1 = json!({"kernels": [{"slots": {"cpu": 3}, "agent": "a1"}]});
    q.enqueued(but(wanting(1, "AK", json!({})), on_a1)).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 3}))).await;
    q.run("select occupancy.put_agent('a1', '{\"cpu\": 2}')").await;
    let told = |n| format!("select message from occupancy.explain_session('{}')", id(n));
    assert_eq!(q.ask(&told(1)).await, "agent a1 has 2 cpu free, 3 cpu requested");
    assert_eq!(
        q.ask(&told(2)).await,
        "no agent of resource group default has room for 3 cpu; the most that one has free is 2 cpu"
    );
    for change in ["status => 'LOST'", "schedulable => false", "resource_group => 'other'"] {
        q.run(&format!("select occupancy.put_agent('a1', '{{\"cpu\": 9}}', {change})")).await;
        assert_eq!(
            q.ask(&told(1)).await,
            "agent a1 is not alive, not schedulable or not in resource group default",
            "{change}"
        );
        assert_eq!(
            q.ask(&told(2)).await,
            "resource group default has no agent that is alive and schedulable",
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_dependency_is_told_with_what_became_of_it() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&vec![json!({}); 3]).await;
    let after = |n: u128| json!({"dependencies": [id(n)]});
    for n in 1..=3 {
        q.enqueued(but(wanting(n + 10, "AK", json!({})), after(n))).await;
    }
    q.release(1).await;
    q.tick("").await;
    q.set_status(2, "ERROR").await;
    let told = async || {
        let mut told = Vec::new();
        for n in 11..=13 {
            let message = format!("select message from occupancy.explain_session('{}')", id(n));
            told.push(q.ask(&message).await);
        }
        told
    };
    let of = |n, what: &str| format!("session {} {what}", id(n));
    assert_eq!(
        told().await,
        [
            of(1, "was cancelled"),
            of(2, "has not ended: it is ERROR"),
            of(3, "has not ended: it is SCHEDULED")
        ]
    );
    q.release(2).await;
    assert_eq!(told().await[1], of(2, "ended out of ERROR"));
    q.run("select occupancy.prune_ended('0')").await;
    assert_eq!(told().await[0], of(1, "did not end with success, and is forgotten"));
}

#[tokio::test]
async fn what_nobody_knows_is_not_explained() {
    let q = Queue::with(1).await;
    let session = format!("select occupancy.explain_session('{}')", id(1));
    assert_eq!(q.refused(&session, &[]).await, "OC004");
    assert_eq!(q.refused("select occupancy.explain_agent('unknown')", &[]).await, "OC003");
    assert_eq!(q.refused("select occupancy.explain_key('unknown')", &[]).await, "OC002");
}
