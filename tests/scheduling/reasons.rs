//! Why sessions wait and how often they were tried, which those that wait for the same share.

use serde_json::json;

use super::{Queue, TURN, but, tick, wanting};
use crate::support::fixture::id;

/// How many rows hold what sessions wait for.
const REASONS: &str = "select count(*) from occupancy.queued_reason";

/// Every session that waits as a line: its number, how often it was tried, and what is in its way.
async fn waiting(q: &Queue) -> Vec<String> {
    let lines = q
        .ask(
            "select string_agg(concat_ws(' ',
                      ('x' || right(session_id::text, 8))::bit(32)::integer, tries,
                      (select string_agg(v ->> 'code', ' ') from jsonb_array_elements(violations) as v)),
                    '|' order by session_id)
             from occupancy.queue",
        )
        .await;
    lines.split('|').map(str::to_owned).collect()
}

/// Where the rows of the queue are, which tells who was written again.
async fn rows(q: &Queue) -> String {
    q.ask("select string_agg(session_id::text || ctid, ' ' order by session_id) from occupancy.queued_session")
        .await
}

#[tokio::test]
async fn everybody_is_counted_for_itself_whoever_shares_its_reason() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 5}))).await;
    q.tick("").await;
    q.enqueued(wanting(2, "BK", json!({"cpu": 5}))).await;
    q.tick("").await;
    assert_eq!(waiting(&q).await, ["1 2 no_agent_fits", "2 1 no_agent_fits"]);
    assert_eq!(q.ask(REASONS).await, "1");
    // One tick looks at the first alone: from now on they have different last tries.
    q.tick("max_sessions => 1").await;
    assert_eq!(waiting(&q).await, ["1 3 no_agent_fits", "2 1 no_agent_fits"]);
    assert_eq!(q.ask(REASONS).await, "2");
    q.tick("").await;
    assert_eq!(waiting(&q).await, ["1 4 no_agent_fits", "2 2 no_agent_fits"]);
    assert_eq!(q.ask(REASONS).await, "1");
    for (n, tries) in [(1, 4), (2, 2)] {
        let told = format!(
            "select concat_ws(' ', tries, tried_at = (select ticked_at from occupancy.scheduled_group),
                    waiting_since = (select enqueued_at from occupancy.queue where session_id = e.session_id))
             from occupancy.explain_session('{}') as e",
            id(n)
        );
        q.at("2030-01-01 00:00:00+00").await;
        q.tick("").await;
        assert_eq!(q.ask(&told).await, format!("{} t t", tries + n));
    }
}

#[tokio::test]
async fn a_session_that_waits_for_something_else_now_is_told_so_and_counted_on() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 5})]).await;
    q.enqueued(wanting(3, "BK", json!({"cpu": 5}))).await;
    q.tick("").await;
    q.run("select occupancy.put_quota('user', 'bob', 0)").await;
    q.tick("").await;
    let both = "3 2 user_quota no_agent_fits";
    assert_eq!(waiting(&q).await, ["1 2 no_agent_fits", "2 2 no_agent_fits", both]);
    q.run("select occupancy.put_quota('user', 'bob')").await;
    q.tick("").await;
    assert_eq!(waiting(&q).await, ["1 3 no_agent_fits", "2 3 no_agent_fits", "3 3 no_agent_fits"]);
    assert_eq!(q.ask(REASONS).await, "1");
    q.run("select occupancy.put_agent('a1', '{\"cpu\": 15}')").await;
    assert_eq!(q.tick("").await, ["1 -> a1", "2 -> a1", "3 -> a1"]);
    assert_eq!(q.ask(REASONS).await, "0");
}

#[tokio::test]
async fn amounts_are_those_that_each_session_met() {
    // The third asks as the first does, but finds what the second took.
    let q = Queue::with(1).await;
    q.run("select occupancy.put_quota('user', 'alice', null, '{\"cpu\": 4}')").await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 3}), json!({"cpu": 5})]).await;
    q.tick("").await;
    let used = "select string_agg(violations -> 0 ->> 'used', ' ' order by session_id) from occupancy.queue";
    assert_eq!(q.ask(used).await, "0 3");
}

#[tokio::test]
async fn a_tick_that_finds_a_queue_as_it_was_writes_no_row_of_it() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&vec![json!({"cpu": 5}); 20]).await;
    q.tick("").await;
    let before = rows(&q).await;
    for _ in 0..3 {
        q.tick("").await;
    }
    assert_eq!(rows(&q).await, before);
    // Nor does it when one more waits.
    q.enqueued(wanting(21, "BK", json!({"cpu": 5}))).await;
    q.tick("").await;
    assert!(rows(&q).await.starts_with(&before));
    let expected: Vec<_> =
        (1..=21).map(|n| format!("{n} {} no_agent_fits", if n < 21 { 5 } else { 1 })).collect();
    assert_eq!(waiting(&q).await, expected);
}

#[tokio::test]
async fn reasons_that_nobody_waits_for_are_forgotten() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 6}), json!({"cpu": 7})]).await;
    q.enqueued(but(wanting(4, "AK", json!({"cpu": 5})), json!({"resource_group": "other"}))).await;
    q.tick("").await;
    q.tick("'other'").await;
    assert_eq!(q.ask(REASONS).await, "4");
    q.release(1).await;
    // Whether a tick looks at the whole queue or not.
    q.tick("max_sessions => 1").await;
    assert_eq!(q.ask(REASONS).await, "3");
    q.release(2).await;
    q.tick("").await;
    assert_eq!(q.ask(REASONS).await, "2");
    assert_eq!(waiting(&q).await, ["3 2 no_agent_fits", "4 1 no_agent_fits"]);
}

#[tokio::test]
async fn managers_that_tick_at_once_are_each_counted() {
    // Eight managers look at sessions of which all wait, in turns: none may count what another did,
    // nor forget it.
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 5}), json!({"cpu": 6})]).await;
    q.tick("").await;
    let crowd = q.platform.crowd(8).await;
    let ticks = q
        .platform
        .stampede(TURN, crowd, |n, client| async move {
            let some = ["", "max_sessions => 2"][n % 2];
            tick(&client, some).await.expect("answered").len()
        })
        .await;
    assert_eq!(ticks.iter().sum::<usize>(), 4 * 3 + 4 * 2);
    let tries = "select sum(tries) from occupancy.queue";
    assert_eq!(q.ask(tries).await, (3 + 4 * 3 + 4 * 2).to_string());
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_session_that_a_tick_passed_over_was_not_tried() {
    // Somebody holds a session that would be placed, and then does not end it.
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5})]).await;
    q.enqueued(wanting(2, "BK", json!({"cpu": 5}))).await;
    q.tick("").await;
    q.run("select occupancy.put_agent('a1', '{\"cpu\": 5}')").await;
    let holder = q.platform.begin().await;
    let hold = format!("select from occupancy.session where session_id = '{}' for update", id(1));
    holder.batch_execute(&hold).await.expect("held");
    q.run("set lock_timeout = '10s'").await;
    assert_eq!(q.tick("").await, ["2 -> a1"]);
    holder.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(waiting(&q).await, ["1 1 no_agent_fits"]);
    q.tick("").await;
    assert_eq!(waiting(&q).await, ["1 2 no_agent_fits"]);
    assert_eq!(q.ask(REASONS).await, "1");
}
