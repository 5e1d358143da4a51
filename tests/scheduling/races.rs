//! Several managers tick, and others cancel, release and change limits meanwhile.

use std::collections::BTreeSet;

use serde_json::json;
use tokio_postgres::Client;

use super::{Queue, TURN, but, enqueue, tick, wanting};
use crate::support::fixture::id;
use crate::support::platform::release;

/// The sessions that a tick placed.
async fn placed(client: Client, arguments: &str) -> Vec<String> {
    let lines = tick(&client, arguments).await.expect("answered");
    lines.into_iter().filter(|line| line.contains("->")).collect()
}

/// Eight managers tick at once, all of which wait for their turn before the first begins.
async fn stampede(q: &Queue) -> Vec<String> {
    let crowd = q.platform.crowd(8).await;
    let ticks = q.platform.stampede(TURN, crowd, |_, client| placed(client, "")).await;
    ticks.concat()
}

#[tokio::test]
async fn managers_that_tick_one_group_place_each_session_once() {
    // Eight managers found the same sessions pending. Whoever comes second must not find them.
    let q = Queue::with(3).await;
    q.run("select occupancy.put_quota('user', 'nobody')").await;
    let slots = vec![json!({"cpu": 4}); 8];
    q.wait_for_slots(&slots).await;
    let ticks = stampede(&q).await;
    let sessions: BTreeSet<_> = ticks.iter().collect();
    assert_eq!(sessions.len(), ticks.len(), "{ticks:?}");
    assert_eq!(q.ask("select count(*) from occupancy.kernels").await, "3");
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn managers_that_tick_one_group_place_no_more_than_a_limit() {
    let q = Queue::with(8).await;
    q.run("select occupancy.put_resource_policy('open', 0)").await;
    q.wait_for_slots(&vec![json!({"cpu": 1}); 20]).await;
    q.tick("'default'").await;
    q.run("select occupancy.put_resource_policy('open', 1)").await;
    let crowd = q.platform.crowd(8).await;
    let ticks = q.platform.stampede(TURN, crowd, |_, client| placed(client, "")).await;
    assert_eq!(ticks.concat().len(), 1);
    assert_eq!(q.platform.used("AK").await, 1);
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn groups_that_share_a_user_quota_never_exceed_it_together() {
    // Two managers tick two groups. Both wait for the quota of their one user; each has to see what
    // the other left of it.
    let q = Queue::with(4).await;
    q.run(
        "select occupancy.put_agent('b' || n, '{\"cpu\": 4}', 'other') from generate_series(1, 4) as n;
         select occupancy.put_quota('user', 'alice', 3);",
    )
    .await;
    for n in 1..=8 {
        // Keys of their own, so that nothing but the quota is in both hands.
        let (group, key) = if n % 2 == 0 { ("default", "AK") } else { ("other", "AK2") };
        let request = wanting(n, key, json!({"cpu": 1}));
        q.enqueued(but(request, json!({"resource_group": group}))).await;
    }
    let quota = "select from occupancy.quota for update";
    let crowd = q.platform.crowd(2).await;
    let ticks = q
        .platform
        .stampede(quota, crowd, |n, client| placed(client, ["'default'", "'other'"][n]))
        .await;
    assert_eq!(ticks.concat().len(), 3, "{ticks:?}");
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_session_that_is_being_cancelled_is_passed_over() {
    // A tick does not wait for whoever cancels, since that could wait for the tick's keys.
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 1}), json!({"cpu": 1})]).await;
    let holder = q.platform.begin().await;
    release(&holder, id(1)).await.expect("released");
    // The key is held as well: the tick waits for that, having passed over the session.
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    holder.batch_execute("commit").await.expect("committed");
    assert_eq!(ticking.await.expect("ended").expect("answered"), ["2 -> a1"]);
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn a_session_that_is_being_cancelled_takes_room_from_nobody() {
    // The tick chose it for the only agent before it found that somebody holds it.
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 4})]).await;
    q.enqueued(wanting(2, "BK", json!({"cpu": 4}))).await;
    q.enqueued(wanting(3, "BK", json!({"cpu": 4}))).await;
    let holder = q.platform.begin().await;
    let hold = format!("select from occupancy.session where session_id = '{}' for update", id(1));
    holder.batch_execute(&hold).await.expect("held");
    q.run("set lock_timeout = '10s'").await;
    // Whatever the order: what this one places is undone.
    let ticking = q.platform.begin().await;
    ticking.batch_execute("set lock_timeout = '10s'").await.expect("set");
    let answer = tick(&ticking, "policy => 'drf'").await.expect("answered");
    assert_eq!(answer, ["2 -> a1", "3 waiting no_agent_fits"]);
    ticking.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(q.tick("").await, ["2 -> a1", "3 waiting no_agent_fits"]);
    holder.batch_execute("rollback").await.expect("rolled back");
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn a_session_that_was_cancelled_while_a_tick_waited_is_not_looked_at() {
    // It would only wait: nothing of it is locked but its key, which who cancels it holds.
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 5})]).await;
    q.tick("").await;
    let holder = q.platform.begin().await;
    release(&holder, id(1)).await.expect("released");
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    holder.batch_execute("commit").await.expect("committed");
    assert_eq!(ticking.await.expect("ended").expect("answered"), ["2 waiting no_agent_fits"]);
    assert_eq!(q.ask("select tries from occupancy.queue").await, "2");
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn who_cancels_what_a_tick_leaves_waiting_ends_it_afterwards() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 5})]).await;
    let ticking = q.platform.begin().await;
    assert_eq!(tick(&ticking, "").await.expect("answered").len(), 2);
    let releasing = q.platform.blocked(|client| async move { release(&client, id(1)).await }).await;
    ticking.batch_execute("commit").await.expect("committed");
    assert_eq!(releasing.await.expect("ended").expect("answered"), "released");
    assert_eq!(q.status(1).await, "CANCELLED");
    assert_eq!(q.tick("").await, ["2 waiting no_agent_fits"]);
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn who_cancels_what_a_tick_is_placing_frees_it_afterwards() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 1})]).await;
    let ticking = q.platform.begin().await;
    assert_eq!(tick(&ticking, "").await.expect("answered"), ["1 -> a1"]);
    let releasing = q.platform.blocked(|client| async move { release(&client, id(1)).await }).await;
    ticking.batch_execute("commit").await.expect("committed");
    assert_eq!(releasing.await.expect("ended").expect("answered"), "released");
    assert_eq!(q.status(1).await, "TERMINATED");
    q.platform.assert_empty().await;
}

#[tokio::test]
async fn a_tick_that_waited_for_an_agent_sees_what_the_holder_left() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 4})]).await;
    let holder = q.platform.begin().await;
    let kernels = json!([{"agent": "a1", "slots": {"cpu": 1}}]);
    let reserve = format!("select occupancy.reserve_session('{}', 'BK', '{kernels}')", id(9));
    holder.batch_execute(&reserve).await.expect("reserved");
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    holder.batch_execute("commit").await.expect("committed");
    assert_eq!(ticking.await.expect("ended").expect("answered"), ["1 waiting no_agent_fits"]);
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn of_those_that_enqueue_at_once_exactly_as_many_as_the_limit_wait() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', max_pending_sessions => 3)").await;
    let key = "select from occupancy.keypair where access_key = 'AK' for update";
    let crowd = q.platform.crowd(16).await;
    let answers = q
        .platform
        .stampede(key, crowd, |n, client| async move {
            let request = wanting(n as u128 + 1, "AK", json!({"cpu": 1}));
            enqueue(&client, &request).await.expect("answered")
        })
        .await;
    assert_eq!(answers.iter().filter(|answer| *answer == "enqueued").count(), 3, "{answers:?}");
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
}
