//! Limits, keys, agents and counters change under the hands of those who reserve.

use futures_util::future::join_all;
use serde_json::json;
use tokio_postgres::Client;

use super::KEY;
use crate::support::platform::{
    Admission, Call, Platform, ask, release, reserve, reserve_batch, sqlstate,
};

/// Runs a statement and tells the first column of its answer.
async fn answer(client: Client, sql: &'static str) -> String {
    ask(&client, sql).await.expect("answered").unwrap_or_default()
}

async fn commit(client: &Client) {
    client.batch_execute("commit").await.expect("a transaction can commit");
}

#[tokio::test]
async fn a_lowered_limit_binds_the_calls_that_begin_after_it() {
    // The operator lowers the limit while sessions run. The moment her command returns, nobody new
    // is admitted, and nobody is thrown out.
    let platform = Platform::with_limit(5).await;
    let running = [Call::new("AK", &["a1"]), Call::new("AK", &["a1"]), Call::new("AK", &["a1"])];
    for call in &running {
        reserve(&platform.admin, call).await.expect("answered");
    }
    platform.run("select occupancy.put_resource_policy('student', 2)").await;
    let crowd = platform.crowd(8).await;
    let answers = join_all(crowd.clients.iter().map(|client| async {
        reserve(client, &Call::new("AK", &["a1"])).await.expect("answered").verdict()
    }))
    .await;
    assert!(answers.iter().all(|a| a == "rejected concurrency_limit"), "{answers:?}");
    assert_eq!(platform.used("AK").await, 3);
    for call in &running[..2] {
        release(&platform.admin, call.session_id).await.expect("answered");
    }
    let next = reserve(&platform.admin, &Call::new("AK", &["a1"])).await.expect("answered");
    assert_eq!((next.verdict().as_str(), next.used, next.max), ("admitted", Some(2), Some(2)));
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_raised_limit_is_not_held_against_those_who_waited() {
    // The reservation waits for the last slot and loses it; but the limit has been raised meanwhile.
    // A rejection would name a limit that no longer exists.
    let platform = Platform::with_limit(1).await;
    let first = platform.begin().await;
    reserve(&first, &Call::new("AK", &["a1"])).await.expect("answered");
    let second = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    platform.run("select occupancy.put_resource_policy('student', 2)").await;
    commit(&first).await;
    assert_eq!(second.await.expect("the call ended").expect("answered").verdict(), "admitted");
    assert_eq!(platform.used("AK").await, 2);
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_quota_that_is_lowered_meanwhile_binds_those_who_wait_for_it() {
    let platform = Platform::with_limit(9).await;
    platform.run("select occupancy.put_quota('user', 'alice', 5)").await;
    let operator = platform.begin().await;
    operator
        .batch_execute("select occupancy.put_quota('user', 'alice', 0)")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&operator).await;
    let rejected = waiting.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected user_quota");
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_key_that_is_shut_down_admits_nobody_who_waits() {
    // The user is banned while a reservation of hers waits for the key.
    let platform = Platform::with_limit(9).await;
    let operator = platform.begin().await;
    operator
        .batch_execute("select occupancy.put_keypair('AK', 'alice', 'student', is_active => false)")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&operator).await;
    let rejected = waiting.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected key_inactive");
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_key_that_moves_to_another_user_is_charged_to_that_one() {
    // The reservation has read whose key it is, and waits for the key; the key changes hands, and
    // the new owner has a quota that is full.
    let platform = Platform::with_limit(9).await;
    platform
        .run(
            "select occupancy.put_quota('user', 'alice', 5), occupancy.put_quota('user', 'bob', 0)",
        )
        .await;
    let operator = platform.begin().await;
    operator
        .batch_execute("select occupancy.put_keypair('AK', 'bob', 'student')")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&operator).await;
    let rejected = waiting.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected user_quota");
    assert_eq!(rejected.violations[0]["scope_id"], "bob");
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_key_that_gets_another_policy_is_bound_by_that_one() {
    let platform = Platform::with_limit(9).await;
    platform.run("select occupancy.put_resource_policy('nothing', 0)").await;
    let operator = platform.begin().await;
    operator
        .batch_execute("select occupancy.put_keypair('AK', 'alice', 'nothing')")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&operator).await;
    let rejected = waiting.await.expect("the call ended").expect("answered");
    assert_eq!(
        (rejected.verdict().as_str(), rejected.max),
        ("rejected concurrency_limit", Some(0))
    );
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_key_that_is_dropped_is_unknown_to_those_who_wait() {
    let platform = Platform::with_limit(9).await;
    let operator = platform.begin().await;
    operator.batch_execute("select occupancy.drop_keypair('AK')").await.expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&operator).await;
    let refused = waiting.await.expect("the call ended");
    assert_eq!(sqlstate(&refused), Some("OC002"));
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_key_with_a_session_under_way_is_in_use() {
    // The other way round: the drop waits for the reservation, and then must not go through.
    let platform = Platform::with_limit(9).await;
    let open = platform.begin().await;
    reserve(&open, &Call::new("AK", &["a1"])).await.expect("answered");
    let drop = "select outcome from occupancy.drop_keypair('AK')";
    let dropping = platform.blocked(|client| answer(client, drop)).await;
    commit(&open).await;
    assert_eq!(dropping.await.expect("the call ended"), "in_use");
    platform.assert_sound().await;
}

#[tokio::test]
async fn an_agent_that_is_dropped_is_unknown_to_those_who_wait() {
    let platform = Platform::with_limit(9).await;
    let operator = platform.begin().await;
    operator.batch_execute("select occupancy.drop_agent('a2')").await.expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1", "a2"])).await;
    commit(&operator).await;
    let refused = waiting.await.expect("the call ended");
    assert_eq!(sqlstate(&refused), Some("OC003"));
    platform.assert_empty().await;
}

#[tokio::test]
async fn an_agent_with_a_kernel_under_way_is_in_use() {
    let platform = Platform::with_limit(9).await;
    let open = platform.begin().await;
    reserve(&open, &Call::new("AK", &["a1"])).await.expect("answered");
    let drop = "select outcome from occupancy.drop_agent('a1')";
    let dropping = platform.blocked(|client| answer(client, drop)).await;
    commit(&open).await;
    assert_eq!(dropping.await.expect("the call ended"), "in_use");
    platform.assert_sound().await;
}

#[tokio::test]
async fn an_agent_that_changes_groups_is_charged_to_the_new_one() {
    // The agent moves to a group whose quota is full, while a reservation waits for its row.
    let platform = Platform::with_limit(9).await;
    platform.run("select occupancy.put_quota('resource_group', 'closed', 0)").await;
    let operator = platform.begin().await;
    operator
        .batch_execute("select occupancy.put_agent('a1', resource_group => 'closed')")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&operator).await;
    let rejected = waiting.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected resource_group_quota");
    platform.assert_empty().await;
}

#[tokio::test]
async fn agents_that_part_ways_are_no_place_for_one_session() {
    let platform = Platform::with_limit(9).await;
    let operator = platform.begin().await;
    operator
        .batch_execute("select occupancy.put_agent('a2', resource_group => 'other')")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1", "a2"])).await;
    commit(&operator).await;
    let refused = waiting.await.expect("the call ended");
    assert_eq!(sqlstate(&refused), Some("OC005"));
    platform.assert_empty().await;
}

#[tokio::test]
async fn an_agent_that_drains_takes_nobody_who_waits() {
    let platform = Platform::with_limit(9).await;
    let operator = platform.begin().await;
    operator
        .batch_execute("select occupancy.put_agent('a1', schedulable => false)")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&operator).await;
    let rejected = waiting.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected agent_unavailable");
    platform.assert_empty().await;
}

#[tokio::test]
async fn an_agent_that_shrinks_is_full_for_those_who_wait() {
    let platform = Platform::with_limit(9).await;
    let heartbeat = platform.begin().await;
    heartbeat
        .batch_execute("select occupancy.put_agent('a1', '{\"cpu\": \"0.5\"}')")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&heartbeat).await;
    let rejected = waiting.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected agent_capacity");
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_batch_that_waited_finds_everything_as_it_is_by_then() {
    // The batch has added up what it asks of whom, and waits for its keys. Meanwhile one changes
    // hands, one is dropped, an agent moves to a group that is closed, and another one drains, of
    // which nothing is asked but to be there.
    let platform = Platform::new(
        "select occupancy.put_resource_policy('student', 9);
         select occupancy.put_keypair(key, 'alice', 'student') from unnest(array['AK', 'BK', 'CK']) as key;
         select occupancy.put_agent(id, '{\"cpu\": 1000}') from unnest(array['a1', 'a2', 'a3']) as id;
         select occupancy.put_quota('user', 'alice', 2), occupancy.put_quota('user', 'bob', 1),
                occupancy.put_quota('resource_group', 'closed', 0);",
    )
    .await;
    let operator = platform.begin().await;
    operator
        .batch_execute(
            "select occupancy.put_keypair('AK', 'bob', 'student'), occupancy.drop_keypair('BK'),
                    occupancy.put_agent('a2', resource_group => 'closed'),
                    occupancy.put_agent('a3', schedulable => false)",
        )
        .await
        .expect("answered");
    let calls = [
        Call::new("AK", &["a1"]),
        Call::new("AK", &["a1"]),
        Call::new("BK", &["a1"]),
        Call::new("CK", &["a2"]),
        Call::new("CK", &[]).with_kernels(json!([{"agent": "a3", "slots": {}}])),
        Call::new("CK", &["a1"]),
        Call::new("CK", &["a1"]),
        Call::new("CK", &["a1"]),
    ];
    let batch =
        platform.blocked(|client| async move { reserve_batch(&client, &calls).await }).await;
    commit(&operator).await;
    let answers = batch.await.expect("the call ended").expect("answered");
    let verdicts: Vec<String> = answers.iter().map(Admission::verdict).collect();
    let expected = [
        "admitted",
        "rejected user_quota",
        "invalid OC002",
        "rejected resource_group_quota",
        "rejected agent_unavailable",
        "admitted",
        "admitted",
        "rejected user_quota",
    ];
    assert_eq!(verdicts, expected);
    assert_eq!((platform.used("AK").await, platform.used("CK").await), (1, 2));
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_heartbeat_keeps_what_was_reserved_meanwhile() {
    // The agent reports while a reservation on it is under way. Its report must not write back the
    // occupancy from before.
    let platform = Platform::with_limit(9).await;
    let open = platform.begin().await;
    let call = Call::new("AK", &["a1"]);
    reserve(&open, &call).await.expect("answered");
    let beat = "select outcome from occupancy.put_agent('a1', '{\"cpu\": 8}')";
    let beating = platform.blocked(|client| answer(client, beat)).await;
    commit(&open).await;
    assert_eq!(beating.await.expect("the call ended"), "replaced");
    let occupied =
        "select occupied_slots ->> 'cpu' from occupancy.agent_occupancy where agent_id = 'a1'";
    assert_eq!(platform.ask(occupied).await, "1");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_quota_that_is_dropped_is_charged_by_nobody_who_waits() {
    let platform = Platform::with_limit(9).await;
    platform.run("select occupancy.put_quota('user', 'alice', 1)").await;
    let operator = platform.begin().await;
    operator.batch_execute("select occupancy.drop_quota('user', 'alice')").await.expect("answered");
    let call = Call::new("AK", &["a1"]);
    let waiting = platform.blocked_reservation(&call).await;
    commit(&operator).await;
    assert_eq!(waiting.await.expect("the call ended").expect("answered").verdict(), "admitted");
    // One of the same name that comes later counts the session, and its end is charged to it.
    platform.run("select occupancy.put_quota('user', 'alice', 1)").await;
    assert_eq!(platform.ask("select used from occupancy.quotas").await, "1");
    release(&platform.admin, call.session_id).await.expect("answered");
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_quota_with_a_session_under_way_is_in_use() {
    let platform = Platform::with_limit(9).await;
    platform.run("select occupancy.put_quota('user', 'alice')").await;
    let open = platform.begin().await;
    reserve(&open, &Call::new("AK", &["a1"])).await.expect("answered");
    let drop = "select outcome from occupancy.drop_quota('user', 'alice')";
    let dropping = platform.blocked(|client| answer(client, drop)).await;
    commit(&open).await;
    assert_eq!(dropping.await.expect("the call ended"), "in_use");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_quota_created_while_a_session_ends_does_not_count_it() {
    // The release is under way: it knows no quota to give anything back to. Counted too early, the
    // session would stay charged for ever.
    let platform = Platform::with_limit(9).await;
    let call = Call::new("AK", &["a1"]);
    reserve(&platform.admin, &call).await.expect("answered");
    let open = platform.begin().await;
    release(&open, call.session_id).await.expect("answered");
    let put = "select outcome from occupancy.put_quota('user', 'alice', 3)";
    let creating = platform.blocked(|client| answer(client, put)).await;
    commit(&open).await;
    assert_eq!(creating.await.expect("the call ended"), "created");
    platform.assert_empty().await;
}

#[tokio::test]
async fn two_who_create_one_quota_create_it_once() {
    let platform = Platform::with_limit(9).await;
    reserve(&platform.admin, &Call::new("AK", &["a1"])).await.expect("answered");
    let crowd = platform.crowd(16).await;
    let put = "select outcome from occupancy.put_quota('user', 'alice', 3)";
    let answers = join_all(crowd.clients.into_iter().map(|client| answer(client, put))).await;
    assert_eq!(answers.iter().filter(|outcome| *outcome == "created").count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|outcome| *outcome == "replaced").count(), 15, "{answers:?}");
    assert_eq!(platform.ask("select used from occupancy.quotas").await, "1");
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

/// Every recalculation there is, with one row per correction.
const RECALCULATIONS: [&str; 6] = [
    "select count(*) from occupancy.recalc_concurrency('AK')",
    "select count(*) from occupancy.recalc_concurrency_fullscan()",
    "select count(*) from occupancy.recalc_agent('a1')",
    "select count(*) from occupancy.recalc_agents_fullscan()",
    "select count(*) from occupancy.recalc_quota('user', 'alice')",
    "select count(*) from occupancy.recalc_quotas_fullscan()",
];

#[tokio::test]
async fn a_recalculation_never_loses_a_reservation_under_way() {
    // The reservation is written but not committed, so that the recalculation cannot see it. Did it
    // not wait, it would set the counters to what it sees, or wait and then write that back.
    for recalculation in RECALCULATIONS {
        let platform = Platform::with_limit(9).await;
        platform.run("select occupancy.put_quota('user', 'alice', 9)").await;
        reserve(&platform.admin, &Call::new("AK", &["a1"])).await.expect("answered");
        let open = platform.begin().await;
        reserve(&open, &Call::new("AK", &["a1"])).await.expect("answered");
        let recalculating = platform.blocked(move |client| answer(client, recalculation)).await;
        commit(&open).await;
        assert_eq!(recalculating.await.expect("the call ended"), "0", "{recalculation}");
        assert_eq!(platform.used("AK").await, 2, "{recalculation}");
        platform.assert_sound().await;
    }
}

#[tokio::test]
async fn a_recalculation_never_brings_back_a_session_that_ends() {
    for recalculation in RECALCULATIONS {
        let platform = Platform::with_limit(9).await;
        platform.run("select occupancy.put_quota('user', 'alice', 9)").await;
        let call = Call::new("AK", &["a1"]);
        reserve(&platform.admin, &call).await.expect("answered");
        let open = platform.begin().await;
        release(&open, call.session_id).await.expect("answered");
        let recalculating = platform.blocked(move |client| answer(client, recalculation)).await;
        commit(&open).await;
        assert_eq!(recalculating.await.expect("the call ended"), "0", "{recalculation}");
        platform.assert_empty().await;
    }
}

#[tokio::test]
async fn a_recalculation_that_mends_holds_up_those_who_would_count_on_it() {
    // The counter is one too high, and the key seems full. While the recalculation that mends it is
    // not committed, a reservation waits for its truth instead of being rejected for good, as long
    // as the wrong counter does not forbid it at once.
    let platform = Platform::with_limit(2).await;
    platform.run("update occupancy.keypair set compute_used = 1").await;
    let mending = platform.begin().await;
    mending
        .batch_execute("select * from occupancy.recalc_concurrency('AK')")
        .await
        .expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&mending).await;
    let admitted = waiting.await.expect("the call ended").expect("answered");
    assert_eq!((admitted.verdict().as_str(), admitted.used), ("admitted", Some(1)));
    platform.assert_sound().await;
}

#[tokio::test]
async fn recalculations_race_nobody() {
    // All of them at once, on a platform that is busy: each mends what it finds wrong, and here
    // nothing is ever wrong.
    let platform = Platform::with_limit(1000).await;
    platform
        .run(
            "select occupancy.put_quota('user', 'alice'), occupancy.put_quota('project', 'vision')",
        )
        .await;
    let crowd = platform.crowd(18).await;
    for round in 0..12 {
        let corrected = join_all(crowd.clients.iter().enumerate().map(|(n, client)| async move {
            if let Some(recalculation) = RECALCULATIONS.get(n) {
                return ask(client, recalculation).await.expect("answered").unwrap_or_default();
            }
            let agents = [["a1", "a2"], ["a3", "a1"]][(n + round) % 2];
            let call = Call::new("AK", &agents).with_project("vision");
            reserve(client, &call).await.expect("answered");
            release(client, call.session_id).await.expect("answered");
            "0".to_owned()
        }))
        .await;
        assert!(corrected.iter().all(|rows| rows == "0"), "{corrected:?}");
    }
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_reservation_does_not_wait_for_a_policy_that_changes() {
    // The operator's transaction is open: the limits are not in force before it commits, and nobody
    // has to wait for that.
    let platform = Platform::with_limit(1).await;
    let operator = platform.begin().await;
    operator
        .batch_execute("select occupancy.put_resource_policy('student', 0)")
        .await
        .expect("answered");
    let client = platform.db.connect().await;
    client.batch_execute("set lock_timeout = '100ms'").await.expect("a setting");
    let call = Call::new("AK", &[]).with_kernels(json!([{"agent": "a1", "slots": {}}]));
    assert_eq!(reserve(&client, &call).await.expect("no lock is needed").verdict(), "admitted");
    commit(&operator).await;
    platform.assert_sound().await;
}

#[tokio::test]
async fn the_reader_of_counts_waits_for_nobody() {
    // Every row that matters is locked; dashboards, checks and the audit answer all the same.
    let platform = Platform::with_limit(2).await;
    let holder = platform.begin().await;
    reserve(&holder, &Call::new("AK", &["a1"])).await.expect("answered");
    holder.batch_execute(KEY).await.expect("the key can be locked");
    let reader = platform.db.connect_as("occupancy_viewer").await;
    reader.batch_execute("set lock_timeout = '100ms'").await.expect("a setting");
    for query in [
        "select occupancy.get_concurrency('AK')",
        "select count(*) from occupancy.audit()",
        "select count(*) from occupancy.agent_occupancy",
        "select count(*) from occupancy.check_session(gen_random_uuid(), 'AK',
           '[{\"agent\": \"a1\", \"slots\": {\"cpu\": 1}}]')",
    ] {
        ask(&reader, query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    }
}
