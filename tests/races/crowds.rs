//! Many connections want the same thing, and no more get it than there is.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use super::{KEY, tally, verdicts};
use crate::support::platform::{Admission, Call, Platform, reserve, reserve_batch};

const CROWD: u32 = 64;

/// Locks the row of the agent `a1`.
const AGENT: &str = "select from occupancy.agent where agent_id = 'a1' for update";

async fn admission(client: Client, call: Call) -> Admission {
    reserve(&client, &call).await.expect("answered")
}

/// 64 reservations of one key, all of which wait for its row before the first one gets it.
async fn race_for_one_key(platform: &Platform) -> Vec<Admission> {
    let crowd = platform.crowd(CROWD).await;
    platform.stampede(KEY, crowd, |_, client| admission(client, Call::new("AK", &["a1"]))).await
}

#[tokio::test]
async fn of_64_connections_exactly_as_many_as_the_limit_are_admitted() {
    // All 64 have looked, and all found the key empty. One after the other they get its row; each
    // has to see what those before it left.
    let platform = Platform::with_limit(10).await;
    let answers = race_for_one_key(&platform).await;
    let expected = verdicts([("admitted", 10), ("rejected concurrency_limit", 54)]);
    assert_eq!(tally(&answers), expected);
    let mut used: Vec<i64> =
        answers.iter().filter(|a| a.outcome == "admitted").filter_map(|a| a.used).collect();
    used.sort_unstable();
    assert_eq!(used, (1..=10).collect::<Vec<_>>(), "each was told a count of its own");
    assert_eq!(platform.used("AK").await, 10);
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn of_64_connections_one_is_admitted_at_limit_1() {
    let platform = Platform::with_limit(1).await;
    let answers = race_for_one_key(&platform).await;
    let expected = verdicts([("admitted", 1), ("rejected concurrency_limit", 63)]);
    assert_eq!(tally(&answers), expected);
    platform.assert_sound().await;
}

#[tokio::test]
async fn of_64_connections_none_is_admitted_at_limit_0() {
    // Nobody waits here: a full key rejects without its lock.
    let platform = Platform::with_limit(0).await;
    let crowd = platform.crowd(CROWD).await;
    let answers =
        join_all(crowd.clients.into_iter().map(|c| admission(c, Call::new("AK", &["a1"])))).await;
    assert_eq!(tally(&answers), verdicts([("rejected concurrency_limit", 64)]));
    platform.assert_empty().await;
}

async fn one_id_64_times(limit: u32) {
    let platform = Platform::with_limit(limit).await;
    let call = Call::new("AK", &["a1", "a2"]);
    let crowd = platform.crowd(CROWD).await;
    let answers = platform.stampede(KEY, crowd, |_, client| admission(client, call.clone())).await;
    assert_eq!(tally(&answers), verdicts([("admitted", 1), ("already_admitted", 63)]));
    for answer in &answers {
        assert_eq!(answer.session_id, Some(call.session_id));
        assert_eq!(answer.kernels, answers[0].kernels, "all were told the same kernels");
        assert_eq!((answer.used, answer.max), (Some(1), Some(i64::from(limit))));
    }
    assert_eq!(platform.used("AK").await, 1);
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn one_session_sent_64_times_at_once_is_admitted_once() {
    // A manager that gets no answer repeats its call, and so do the proxies between. The first
    // holds the id and waits for the key; the others wait for the id.
    one_id_64_times(10).await;
}

#[tokio::test]
async fn at_limit_1_a_repeated_session_does_not_find_the_key_full_of_itself() {
    // When the first is admitted the key is full, and 63 calls with the id that filled it go on.
    one_id_64_times(1).await;
}

#[tokio::test]
async fn one_session_sent_64_times_in_batches_is_admitted_once() {
    // The same in batches, each with the same two sessions in one order or the other.
    let platform = Platform::with_limit(2).await;
    let calls = [Call::new("AK", &["a1"]), Call::new("AK", &["a2"])];
    let crowd = platform.crowd(CROWD).await;
    let answers = platform
        .stampede(KEY, crowd, |n, client| {
            let mut calls = calls.to_vec();
            calls.rotate_left(n % 2);
            async move { reserve_batch(&client, &calls).await.expect("answered") }
        })
        .await
        .concat();
    assert_eq!(tally(&answers), verdicts([("admitted", 2), ("already_admitted", 126)]));
    assert_eq!(platform.used("AK").await, 2);
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn system_sessions_race_for_a_limit_of_their_own() {
    // Both classes wait for the same row, but neither takes the other's slots.
    let platform = Platform::new(
        "select occupancy.put_resource_policy('student', 7, 3);
         select occupancy.put_keypair('AK', 'alice', 'student');
         select occupancy.put_agent('a1', '{\"cpu\": 1000}');",
    )
    .await;
    let crowd = platform.crowd(CROWD).await;
    let answers = platform
        .stampede(KEY, crowd, |n, client| {
            let class = if n % 2 == 0 { "system" } else { "batch" };
            admission(client, Call::new("AK", &["a1"]).with_type(class))
        })
        .await;
    let expected = verdicts([
        ("admitted", 10),
        ("rejected concurrency_limit", 25),
        ("rejected system_concurrency_limit", 29),
    ]);
    assert_eq!(tally(&answers), expected);
    let used = platform.ask("select occupancy.get_concurrency('AK')").await;
    assert_eq!(used, "(AK,7,7,3,3)");
    platform.assert_sound().await;
}

/// Two keys of alice, two resource groups, and whatever else `sql` says.
async fn two_keys_of_one_user(sql: &str) -> Platform {
    let platform = Platform::new(
        "select occupancy.put_resource_policy('student');
         select occupancy.put_keypair('AK', 'alice', 'student');
         select occupancy.put_keypair('BK', 'alice', 'student');
         select occupancy.put_agent('a1', '{\"cpu\": 1000}', 'left');
         select occupancy.put_agent('b1', '{\"cpu\": 1000}', 'right');",
    )
    .await;
    platform.run(sql).await;
    platform
}

/// The `n`th of a crowd that has two keys and two resource groups.
fn any_key_and_group(n: usize) -> Call {
    Call::new(["AK", "BK"][n % 2], &[["a1", "b1"][n / 2 % 2]])
}

#[tokio::test]
async fn a_user_quota_holds_across_keys_and_resource_groups() {
    // The reservations have different keys and different agents, so that nothing but the row of the
    // user's quota makes them queue. It is locked last: whoever waits for it holds a key.
    let platform = two_keys_of_one_user("select occupancy.put_quota('user', 'alice', 5)").await;
    let quota = "select from occupancy.quota where scope = 'user' for update";
    let crowd = platform.crowd(40).await;
    let answers = platform.stampede(quota, crowd, |n, c| admission(c, any_key_and_group(n))).await;
    assert_eq!(tally(&answers), verdicts([("admitted", 5), ("rejected user_quota", 35)]));
    assert_eq!(platform.used("AK").await + platform.used("BK").await, 5);
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn every_quota_holds_for_batches_and_single_calls_together() {
    // Half of the crowd sends batches of three, half single calls, against quotas that differ.
    let platform = two_keys_of_one_user(
        "select occupancy.put_keypair('CK', 'bob', 'student', domain => 'campus');
         select occupancy.put_keypair('AK', 'alice', 'student', domain => 'campus');
         select occupancy.put_keypair('BK', 'alice', 'student', domain => 'campus');
         select occupancy.put_quota('resource_group', 'left', total_resource_slots => '{\"cpu\": 6}');
         select occupancy.put_quota('project', 'vision', 9);
         select occupancy.put_quota('domain', 'campus', 20);",
    )
    .await;
    let quota = "select from occupancy.quota where scope = 'domain' for update";
    let call = |n: usize| {
        let call = Call::new(["AK", "BK", "CK"][n % 3], &[["a1", "b1"][n / 3 % 2]]);
        if n.is_multiple_of(4) { call.with_project("vision") } else { call }
    };
    let crowd = platform.crowd(48).await;
    let answers = platform
        .stampede(quota, crowd, |n, client| async move {
            if n.is_multiple_of(2) {
                vec![admission(client, call(n)).await]
            } else {
                let calls = [call(n), call(n + 7), call(n + 14)];
                reserve_batch(&client, &calls).await.expect("answered")
            }
        })
        .await
        .concat();
    assert_eq!(answers.iter().filter(|a| a.outcome == "admitted").count(), 20);
    let used = platform
        .ask(
            "select string_agg(format('%s %s of %s', scope, used, max_concurrent_sessions), ', '
                               order by scope)
             from occupancy.quotas where scope <> 'resource_group'",
        )
        .await;
    assert!(used.starts_with("domain 20 of 20, project "), "{used}");
    let over = platform
        .ask(
            "select count(*) from occupancy.quotas
             where used > max_concurrent_sessions
                or (occupied_slots ->> 'cpu')::numeric > (total_resource_slots ->> 'cpu')::numeric",
        )
        .await;
    assert_eq!(over, "0");
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_quota_created_under_load_counts_everybody() {
    // Thirty reservations are under way when the quota is created: they know nothing of it, and it
    // does not see them. It has to wait for them, count them, and bind the ten that came later.
    let platform = two_keys_of_one_user("").await;
    let mut crowd = platform.crowd(40).await;
    let late = crowd.clients.split_off(30);
    let holder = platform.begin().await;
    holder
        .batch_execute("select from occupancy.keypair for update")
        .await
        .expect("the keys can be locked");
    let mut calls = Vec::new();
    for (n, client) in crowd.clients.into_iter().enumerate() {
        calls.push(tokio::spawn(admission(client, any_key_and_group(n))));
    }
    platform.wait_for_waiters(30).await;
    let quota = platform
        .blocked(|client| async move {
            client
                .query_one("select outcome from occupancy.put_quota('user', 'alice', 35)", &[])
                .await
        })
        .await;
    for (n, client) in late.into_iter().enumerate() {
        calls.push(tokio::spawn(admission(client, any_key_and_group(n))));
    }
    platform.wait_for_waiters(41).await;
    holder.batch_execute("commit").await.expect("the keys are given back");

    let answers: Vec<Admission> =
        join_all(calls).await.into_iter().map(|call| call.expect("the call ended")).collect();
    let created = quota.await.expect("the call ended").expect("answered");
    assert_eq!(created.get::<_, &str>(0), "created");
    assert_eq!(tally(&answers[..30]), verdicts([("admitted", 30)]));
    let expected = verdicts([("admitted", 5), ("rejected user_quota", 5)]);
    assert_eq!(tally(&answers[30..]), expected);
    assert_eq!(platform.ask("select used from occupancy.quotas").await, "35");
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

/// 64 reservations of eight keys without limits race for the agent `a1`.
async fn race_for_one_agent(
    available: &Value,
    kernels: impl Fn(usize) -> Value,
) -> (Platform, Vec<Admission>) {
    let platform = Platform::new(&format!(
        "select occupancy.put_resource_policy('student');
         select occupancy.put_keypair('K' || n, 'user' || n, 'student')
           from generate_series(0, 7) as n;
         select occupancy.put_agent('a1', '{available}');
         select occupancy.put_agent('a2', '{{\"cpu\": 1000}}');"
    ))
    .await;
    let crowd = platform.crowd(CROWD).await;
    let answers = platform
        .stampede(AGENT, crowd, |n, client| {
            let call = Call::new(&format!("K{}", n % 8), &[]).with_kernels(kernels(n));
            admission(client, call)
        })
        .await;
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
    (platform, answers)
}

#[tokio::test]
async fn an_agent_takes_exactly_what_fits() {
    // Eight keys, none of which is limited: only the agent's row makes their calls queue.
    let kernels = |_| json!([{"agent": "a1", "slots": {"cpu": 3, "mem": "1g"}}]);
    let (_, answers) = race_for_one_agent(&json!({"cpu": 64, "mem": "64g"}), kernels).await;
    let expected = verdicts([("admitted", 21), ("rejected agent_capacity", 43)]);
    assert_eq!(tally(&answers), expected);
}

#[tokio::test]
async fn shares_of_a_device_add_up_exactly() {
    // Ten tenths are one. In binary floating point they are a little less, and an eleventh fits.
    let kernels = |_| json!([{"agent": "a1", "slots": {"cuda.shares": "0.1"}}]);
    let (platform, answers) = race_for_one_agent(&json!({"cuda.shares": 1}), kernels).await;
    let expected = verdicts([("admitted", 10), ("rejected agent_capacity", 54)]);
    assert_eq!(tally(&answers), expected);
    let occupied = "select occupied_slots ->> 'cuda.shares' from occupancy.agent_occupancy
                    where agent_id = 'a1'";
    assert_eq!(platform.ask(occupied).await, "1");
    // What was exact on the way up is exact on the way down: not a trace is left.
    let ids: Vec<Uuid> =
        answers.iter().filter(|a| a.outcome == "admitted").filter_map(|a| a.session_id).collect();
    for id in ids {
        platform.run(&format!("select occupancy.release_session('{id}')")).await;
    }
    platform.assert_empty().await;
}

#[tokio::test]
async fn sessions_on_two_agents_take_both_or_neither() {
    // In whatever order a session names its agents, they are locked in one: nobody holds one of
    // them and waits for the other while somebody else does it the other way round.
    let kernels = |n: usize| {
        let mut agents = ["a1", "a2"];
        agents.rotate_left(n % 2);
        agents.iter().map(|agent| json!({"agent": agent, "slots": {"cpu": 2}})).collect()
    };
    let (platform, answers) = race_for_one_agent(&json!({"cpu": 25}), kernels).await;
    let expected = verdicts([("admitted", 12), ("rejected agent_capacity", 52)]);
    assert_eq!(tally(&answers), expected);
    let occupied =
        "select string_agg(occupied_slots ->> 'cpu', ' ') from occupancy.agent_occupancy";
    assert_eq!(platform.ask(occupied).await, "24 24");
}

#[tokio::test]
async fn the_log_shows_the_conflicts_that_other_tests_say_are_absent() -> Result<(), Error> {
    // Two transactions lock two rows in opposite orders. Without this test, a log that nobody can
    // read would pass for a log without deadlocks.
    let platform = Platform::with_limit(1).await;
    let first = platform.begin().await;
    first.batch_execute(KEY).await?;
    let second = platform
        .blocked(|client| async move {
            client.batch_execute(&format!("begin; {AGENT}; {KEY}")).await?;
            client.batch_execute("rollback").await
        })
        .await;
    let first = first.batch_execute(&format!("{AGENT}; rollback")).await;
    let second = second.await.expect("the call ended");
    assert!(first.is_err() != second.is_err(), "one of them was the victim");
    let logged = platform.db.server_log().await;
    assert!(logged.contains(" 40P01 "), "{logged}");
    Ok(())
}
