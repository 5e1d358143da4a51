//! What a tick compares: the limits of keys, users, projects, domains and groups.

use serde_json::json;

use super::{Queue, but, wanting};
use crate::support::fixture::id;

#[tokio::test]
async fn a_placed_session_holds_what_a_reserved_one_holds() {
    let q = Queue::with(1).await;
    q.run(
        "select occupancy.put_quota('user', 'alice');
         select occupancy.put_quota('project', 'p');
         select occupancy.put_quota('resource_group', 'default');
         select occupancy.put_quota('domain', 'd');",
    )
    .await;
    let request = but(wanting(1, "AK", json!({"cpu": "1.5"})), json!({"project": "p"}));
    q.enqueued(request).await;
    assert_eq!(q.tick("").await, ["1 -> a1"]);
    assert_eq!(q.status(1).await, "SCHEDULED");
    assert_eq!(q.platform.used("AK").await, 1);
    let holders = "select string_agg(distinct (used, occupied_slots)::text, ' ') || count(*)
                   from occupancy.quotas";
    assert_eq!(q.ask(holders).await, r#"(1,"{""cpu"": ""1.5""}")4"#);
    q.release(1).await;
    q.platform.assert_empty().await;
}

#[tokio::test]
async fn a_limit_of_one_places_one() {
    let q = Queue::with(2).await;
    q.run("select occupancy.put_resource_policy('open', 1)").await;
    q.wait_for_slots(&[json!({"cpu": 1}), json!({"cpu": 1})]).await;
    assert_eq!(q.tick("").await, ["1 -> a1", "2 waiting concurrency_limit"]);
    q.release(1).await;
    assert_eq!(q.tick("").await, ["2 -> a1"]);
}

#[tokio::test]
async fn a_limit_of_none_places_none() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', 0)").await;
    q.wait_for_slots(&[json!({"cpu": 1})]).await;
    assert_eq!(q.tick("").await, ["1 waiting concurrency_limit"]);
}

#[tokio::test]
async fn reserved_sessions_count_towards_the_limit_of_a_tick() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', 1)").await;
    let kernels = json!([{"agent": "a1", "slots": {"cpu": 1}}]);
    q.run(&format!("select occupancy.reserve_session('{}', 'AK', '{kernels}')", id(9))).await;
    q.wait_for_slots(&[json!({"cpu": 1})]).await;
    assert_eq!(q.tick("").await, ["1 waiting concurrency_limit"]);
}

#[tokio::test]
async fn the_slots_of_a_key_are_limited_to_the_last_fraction() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', total_resource_slots => '{\"cpu\": 1}')")
        .await;
    q.wait_for_slots(&[json!({"cpu": "0.7"}), json!({"cpu": "0.31"}), json!({"cpu": "0.3"})]).await;
    assert_eq!(q.tick("").await, ["1 -> a1", "2 waiting keypair_quota", "3 -> a1"]);
}

#[tokio::test]
async fn a_slot_that_a_limited_key_does_not_name_is_none() {
    let q = Queue::on(&[("a1", json!({"cpu": 4, "mem": 4}))]).await;
    q.run("select occupancy.put_resource_policy('open', total_resource_slots => '{\"cpu\": 4}')")
        .await;
    q.wait_for_slots(&[json!({"cpu": 1, "mem": 1}), json!({"cpu": 1})]).await;
    assert_eq!(q.tick("").await, ["1 waiting keypair_quota", "2 -> a1"]);
}

#[tokio::test]
async fn each_quota_is_compared_under_its_own_name() {
    for (scope, scope_id) in
        [("user", "alice"), ("project", "p"), ("resource_group", "default"), ("domain", "d")]
    {
        let q = Queue::with(1).await;
        q.run(&format!("select occupancy.put_quota('{scope}', '{scope_id}', 1)")).await;
        for n in 1..=2 {
            let request = wanting(n, "AK", json!({"cpu": 1}));
            q.enqueued(but(request, json!({"project": "p"}))).await;
        }
        assert_eq!(q.tick("").await, ["1 -> a1".to_owned(), format!("2 waiting {scope}_quota")]);
    }
}

#[tokio::test]
async fn keys_of_one_user_share_the_user_quota() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_quota('user', 'alice', null, '{\"cpu\": 2}')").await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.enqueued(wanting(2, "AK2", json!({"cpu": 2}))).await;
    q.enqueued(wanting(3, "AK2", json!({"cpu": 1}))).await;
    q.enqueued(wanting(4, "BK", json!({"cpu": 2}))).await;
    assert_eq!(q.tick("").await, ["1 -> a1", "2 waiting user_quota", "3 -> a1", "4 -> a1"]);
}

#[tokio::test]
async fn all_that_fails_is_reported_with_amounts() {
    let q = Queue::with(1).await;
    q.run(
        "select occupancy.put_resource_policy('open', 0, null, '{\"cpu\": 2}');
         select occupancy.put_quota('user', 'alice', 0, '{\"cpu\": 3}');
         select occupancy.put_quota('domain', 'd', null, '{\"cpu\": 1}');",
    )
    .await;
    let batch = json!({"session_type": "batch", "starts_at": "2100-01-01T00:00:00Z"});
    q.enqueued(but(wanting(1, "AK", json!({"cpu": 5})), batch)).await;
    q.run("select occupancy.put_keypair('AK', 'alice', 'open', is_active => false, domain => 'd')")
        .await;
    assert_eq!(
        q.tick("").await,
        [
            "1 waiting start_time key_inactive concurrency_limit keypair_quota user_quota user_quota \
          domain_quota no_agent_fits"
        ]
    );
    let told = "select code || ': ' || (violations -> 3 ->> 'message') from occupancy.queue";
    assert_eq!(q.ask(told).await, "start_time: access key AK has 0 of 2 cpu occupied, 5 requested");
}

#[tokio::test]
async fn a_system_session_is_bound_by_its_own_limit_only() {
    let q = Queue::with(1).await;
    q.run(
        "select occupancy.put_resource_policy('open', 0, 1, '{}');
         select occupancy.put_quota('user', 'alice', 0);",
    )
    .await;
    for n in 1..=2 {
        q.enqueued(but(wanting(n, "AK", json!({"cpu": 1})), json!({"session_type": "system"})))
            .await;
    }
    assert_eq!(q.tick("").await, ["1 -> a1", "2 waiting system_concurrency_limit"]);
    assert_eq!(
        q.ask("select occupied_slots from occupancy.agent_occupancy").await,
        r#"{"cpu": "1"}"#
    );
}

#[tokio::test]
async fn a_raised_limit_lets_the_next_tick_place() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_quota('project', 'p', 0)").await;
    q.enqueued(but(wanting(1, "AK", json!({"cpu": 1})), json!({"project": "p"}))).await;
    assert_eq!(q.tick("").await, ["1 waiting project_quota"]);
    q.run("select occupancy.put_quota('project', 'p', 1)").await;
    assert_eq!(q.tick("").await, ["1 -> a1"]);
}

#[tokio::test]
async fn a_session_is_charged_to_whom_its_key_belongs_when_it_is_placed() {
    let q = Queue::with(1).await;
    q.run(
        "select occupancy.put_quota('user', 'alice'); select occupancy.put_quota('user', 'carol')",
    )
    .await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.run("select occupancy.put_keypair('AK', 'carol', 'open')").await;
    q.tick("").await;
    let used = "select string_agg(scope_id || used, ' ' order by scope_id) from occupancy.quotas";
    assert_eq!(q.ask(used).await, "alice0 carol1");
}
