//! Getting into the queue and out of it.

use serde_json::json;

use super::{Queue, but, ids, wanting};
use crate::support::fixture::id;

#[tokio::test]
async fn a_session_that_waits_holds_nothing() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    assert_eq!(q.status(1).await, "PENDING");
    assert_eq!(q.platform.used("AK").await, 0);
    assert_eq!(q.ask("select occupied_slots from occupancy.agent_occupancy").await, "{}");
    q.run("select occupancy.put_quota('user', 'alice')").await;
    assert_eq!(q.ask("select used from occupancy.quotas").await, "0");
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn the_same_call_again_waits_once() {
    let q = Queue::with(1).await;
    let request = but(wanting(1, "AK", json!({"cpu": 1})), json!({"priority": 20}));
    q.enqueued(request.clone()).await;
    assert_eq!(q.enqueue(request.clone()).await, "already_enqueued");
    assert_eq!(q.tick("").await, ["1 -> a1"]);
    assert_eq!(q.enqueue(request).await, "already_enqueued");
    assert_eq!(q.tick("").await, [""; 0]);
}

#[tokio::test]
async fn another_content_under_a_waiting_id_is_a_conflict() {
    let q = Queue::with(1).await;
    let request = wanting(1, "AK", json!({"cpu": 1}));
    q.enqueued(request.clone()).await;
    for fields in [
        json!({"access_key": "BK"}),
        json!({"kernels": [{"slots": {"cpu": 2}}]}),
        json!({"kernels": [{"slots": {"cpu": 1}, "agent": "a1"}]}),
        json!({"priority": 11}),
        json!({"project": "p"}),
        json!({"session_type": "batch"}),
        json!({"cluster_mode": "multi-node"}),
        json!({"resource_group": "other"}),
    ] {
        assert_eq!(q.enqueue(but(request.clone(), fields.clone())).await, "OC006", "{fields}");
    }
    assert_eq!(q.tick("").await, ["1 -> a1"]);
}

#[tokio::test]
async fn reserving_a_waiting_id_is_a_conflict() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    let kernels = json!([{"agent": "a1", "slots": {"cpu": 1}}]);
    let reserve = "select occupancy.reserve_session($1, 'AK', $2)";
    assert_eq!(q.refused(reserve, &[&id(1), &kernels]).await, "OC006");
    let batch = json!([{"session_id": id(1), "access_key": "AK", "kernels": kernels}]);
    let reserve = format!("select outcome || code from occupancy.reserve_sessions('{batch}')");
    assert_eq!(q.ask(&reserve).await, "invalidOC006");
}

#[tokio::test]
async fn a_reserved_id_cannot_wait() {
    let q = Queue::with(1).await;
    let kernels = json!([{"agent": "a1", "slots": {"cpu": 1}}]);
    q.run(&format!("select occupancy.reserve_session('{}', 'AK', '{kernels}')", id(1))).await;
    assert_eq!(q.enqueue(wanting(1, "AK", json!({"cpu": 1}))).await, "OC006");
}

#[tokio::test]
async fn a_limit_of_one_lets_one_wait() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', max_pending_sessions => 1)").await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    let second = wanting(2, "AK", json!({"cpu": 1}));
    assert_eq!(q.enqueue(second.clone()).await, "rejected pending_sessions");
    q.enqueued(wanting(3, "BK", json!({"cpu": 1}))).await;
    // Placed, it waits no longer.
    q.tick("").await;
    assert_eq!(q.enqueue(second).await, "enqueued");
}

#[tokio::test]
async fn slots_that_wait_are_limited_together() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', max_pending_resource_slots => '{\"cpu\": 3}')")
        .await;
    q.enqueued(wanting(1, "AK", json!({"cpu": "1.5", "mem": "9t"}))).await;
    let more = |n, cpu: &str| wanting(n, "AK", json!({"cpu": cpu}));
    assert_eq!(q.enqueue(more(2, "1.51")).await, "rejected pending_resource_slots");
    assert_eq!(q.enqueue(more(2, "1.5")).await, "enqueued");
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn a_session_with_too_many_kernels_does_not_even_wait() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', max_kernels_per_session => 1)").await;
    let kernel = json!({"slots": {"cpu": 1}});
    let two = but(wanting(1, "AK", json!({})), json!({"kernels": [kernel, kernel]}));
    assert_eq!(q.enqueue(two).await, "rejected kernels_per_session");
}

#[tokio::test]
async fn an_inactive_key_does_not_even_wait() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_keypair('AK', 'alice', 'open', is_active => false)").await;
    assert_eq!(q.enqueue(wanting(1, "AK", json!({"cpu": 1}))).await, "rejected key_inactive");
    assert_eq!(q.ask("select count(*) from occupancy.session").await, "0");
}

#[tokio::test]
async fn releasing_a_waiting_session_cancels_it_for_good() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    assert_eq!(q.release(1).await, "released");
    assert_eq!(q.release(1).await, "already_released");
    assert_eq!(q.status(1).await, "CANCELLED");
    assert_eq!(q.enqueue(wanting(1, "AK", json!({"cpu": 1}))).await, "rejected session_ended");
    assert_eq!(q.tick("").await, [""; 0]);
    q.platform.assert_empty().await;
}

#[tokio::test]
async fn every_way_to_end_takes_a_session_out_of_the_queue() {
    let q = Queue::with(1).await;
    for n in 1..=6 {
        q.enqueued(wanting(n, "AK", json!({"cpu": 1}))).await;
    }
    let cancel = |n| format!("select outcome from occupancy.cancel_session('{}')", id(n));
    assert_eq!(q.ask(&cancel(1)).await, "cancelled");
    assert_eq!(q.ask(&cancel(1)).await, "already_cancelled");
    q.run(&format!("select occupancy.terminate_session('{}')", id(2))).await;
    let two = ids([3, 3]);
    q.run(&format!("select occupancy.release_sessions(array['{}', '{}']::uuid[])", two[0], two[1]))
        .await;
    assert_eq!(q.set_status(4, "CANCELLED").await, "changed");
    assert_eq!(q.ask("select occupancy.clear_concurrency('AK')").await, "2");
    for n in 1..=6 {
        assert_eq!(q.status(n).await, "CANCELLED", "{n}");
    }
    assert_eq!(q.ask("select sessions || slots::text from occupancy.key_queue").await, "0{}");
    q.platform.assert_empty().await;
}

#[tokio::test]
async fn a_cancelled_id_that_nobody_knew_is_remembered() {
    let q = Queue::with(1).await;
    let cancel = format!("select outcome from occupancy.cancel_session('{}')", id(1));
    assert_eq!(q.ask(&cancel).await, "unknown");
    assert_eq!(q.enqueue(wanting(1, "AK", json!({"cpu": 1}))).await, "rejected session_ended");
}

#[tokio::test]
async fn a_placed_session_is_not_cancelled_but_released() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.tick("").await;
    let cancel = format!("select outcome from occupancy.cancel_session('{}')", id(1));
    assert_eq!(q.ask(&cancel).await, "placed");
    assert_eq!(q.status(1).await, "SCHEDULED");
    q.release(1).await;
    assert_eq!(q.ask(&cancel).await, "already_released");
}

#[tokio::test]
async fn who_waits_too_long_expires() {
    let q = Queue::with(1).await;
    q.at("2030-01-01 10:00:00Z").await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 9}))).await;
    let late = json!({"session_type": "batch", "starts_at": "2030-01-01T10:30:00Z"});
    q.enqueued(but(wanting(2, "AK", json!({"cpu": 9})), late)).await;
    let expire = "select occupancy.expire_pending('1 hour')";
    q.at("2030-01-01 10:59:59Z").await;
    assert_eq!(q.ask(expire).await, "0");
    q.at("2030-01-01 11:00:00Z").await;
    assert_eq!(q.ask(expire).await, "1");
    assert_eq!(q.status(1).await, "CANCELLED");
    let reason = "select reason from occupancy.history where to_status = 'CANCELLED'";
    assert_eq!(q.ask(reason).await, "waited longer than 01:00:00");
    // The other one has waited since its start time.
    q.at("2030-01-01 11:30:00Z").await;
    assert_eq!(q.ask(expire).await, "1");
    q.platform.assert_empty().await;
}

#[tokio::test]
async fn mistakes_are_refused_and_leave_nothing() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_agent('other', '{\"cpu\": 4}', 'elsewhere')").await;
    let request = wanting(1, "AK", json!({"cpu": 1}));
    let batch = |time: &str| json!({"session_type": "batch", "starts_at": time});
    let on = |agents: &[&str]| {
        let kernels = agents.iter().map(|agent| json!({"agent": agent, "slots": {"cpu": 1}}));
        json!({"kernels": kernels.collect::<Vec<_>>()})
    };
    for (fields, code) in [
        (json!({"kernels": []}), "OC005"),
        (json!({"kernels": [{"slots": {"cpu": -1}}]}), "OC001"),
        (json!({"kernels": [{"agent": "a1"}]}), "OC001"),
        (json!({"kernels": [{"agent": 7, "slots": {}}]}), "OC005"),
        (json!({"access_key": "nobody"}), "OC002"),
        (on(&["unknown"]), "OC003"),
        (on(&["other"]), "OC005"),
        (on(&["a1", "other"]), "OC005"),
        (json!({"priority": 101}), "OC005"),
        (json!({"priority": -1}), "OC005"),
        (json!({"cluster_mode": "many"}), "OC005"),
        (json!({"resource_group": ""}), "OC005"),
        (json!({"session_type": "unknown"}), "OC005"),
        (json!({"starts_at": "2030-01-01T00:00:00Z"}), "OC005"),
        (batch("10000-01-01T00:00:00Z"), "OC005"),
        (batch("infinity"), "OC005"),
        (batch("-infinity"), "OC005"),
        (batch("0044-03-15T12:00:00Z BC"), "OC005"),
        (batch("9999-12-31T23:59:59.9999999Z"), "OC005"),
        (json!({"kernels": null}), "OC005"),
        (json!({"kernels": {}}), "OC005"),
        (json!({"kernels": "[]"}), "OC005"),
        (json!({"kernels": [null]}), "OC005"),
        (json!({"kernels": [[]]}), "OC005"),
        (json!({"kernels": vec![json!({"slots": {}}); 1001]}), "OC005"),
        (json!({"kernels": [{"slots": {}, "agent": ""}]}), "OC005"),
        (json!({"kernels": [{"slots": {}, "agent": "x".repeat(257)}]}), "OC005"),
        (json!({"kernels": [{"slots": {}, "kernel_id": "1"}]}), "OC005"),
        (json!({"kernels": [{"slots": {"cpu": "NaN"}}]}), "OC001"),
        (json!({"kernels": [{"slots": {"cpu": null}}]}), "OC001"),
        (json!({"kernels": [{"slots": {"cpu": 1e24}}]}), "OC001"),
        (json!({"kernels": [{"slots": {"CPU": 1}}]}), "OC001"),
        (json!({"kernels": [{"slots": []}]}), "OC001"),
        (
            json!({"kernels": [{"slots": {}, "kernel_id": id(9)}, {"slots": {}, "kernel_id": id(9)}]}),
            "OC005",
        ),
        (json!({"dependencies": ids(2..=1002)}), "OC005"),
        (json!({"dependencies": [id(1)]}), "OC005"),
        (json!({"dependencies": [id(77)]}), "OC004"),
    ] {
        assert_eq!(q.enqueue(but(request.clone(), fields.clone())).await, code, "{fields}");
    }
    assert_eq!(q.ask("select count(*) from occupancy.session").await, "0");
    q.platform.assert_empty().await;
}

#[tokio::test]
async fn what_is_missing_is_refused_where_it_is_needed() {
    let q = Queue::with(1).await;
    let given = [
        "session_id => gen_random_uuid()",
        "access_key => 'AK'",
        "kernels => '[{\"slots\": {}}]'",
        "session_type => 'batch'",
        "resource_group => 'default'",
        "priority => 10",
        "dependencies => '{}'",
        "cluster_mode => 'single-node'",
        "project => 'p'",
        "starts_at => '1999-01-01'",
    ];
    for (n, argument) in given.iter().enumerate() {
        let name = argument.split(' ').next().expect("a name");
        let mut arguments = given.map(str::to_owned);
        arguments[n] = format!("{name} => null");
        let sql = format!("select occupancy.enqueue_session({})", arguments.join(", "));
        if ["project", "starts_at"].contains(&name) {
            q.run(&sql).await;
        } else {
            assert_eq!(q.refused(&sql, &[]).await, "OC005", "{argument}");
        }
    }
    for call in [
        "cancel_session(null)",
        "expire_pending(null)",
        "expire_pending('-1 s')",
        "expire_pending('1001 years')",
        "expire_pending('1 month -31 days')",
        "set_session_status(null, 'RUNNING')",
        "set_session_status(gen_random_uuid(), null)",
        "set_session_status(gen_random_uuid(), 'running')",
        "set_session_status(gen_random_uuid(), 'RUNNING', '')",
        "explain_session(null)",
        "explain_agent(null)",
        "explain_key(null)",
        "recalc_queue(null)",
        "recalc_queue('')",
    ] {
        assert_eq!(q.refused(&format!("select occupancy.{call}"), &[]).await, "OC005", "{call}");
    }
    let unknown = "select occupancy.set_session_status(gen_random_uuid(), 'RUNNING')";
    assert_eq!(q.refused(unknown, &[]).await, "OC004");
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn dependencies_in_a_circle_are_refused() {
    let q = Queue::with(1).await;
    let request = |n, on: &[u128]| {
        but(wanting(n, "AK", json!({"cpu": 1})), json!({"dependencies": ids(on.iter().copied())}))
    };
    q.enqueued(request(1, &[])).await;
    q.enqueued(request(2, &[1])).await;
    q.enqueued(request(3, &[2])).await;
    assert_eq!(q.enqueue(request(1, &[3])).await, "OC005");
}

#[tokio::test]
async fn the_same_call_is_recognised_whatever_was_forgotten_since() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.tick("").await;
    let after = json!({"dependencies": ids([1])});
    let request = but(wanting(2, "AK", json!({"cpu": 1})), after);
    q.enqueued(request.clone()).await;
    q.release(1).await;
    assert_eq!(q.ask("select occupancy.prune_ended('0')").await, "1");
    assert_eq!(q.enqueue(request.clone()).await, "already_enqueued");
    q.tick("").await;
    assert_eq!(q.enqueue(request.clone()).await, "already_enqueued");
    q.release(2).await;
    assert_eq!(q.enqueue(request).await, "rejected session_ended");
}

#[tokio::test]
async fn a_kernel_id_is_given_once() {
    let q = Queue::with(1).await;
    let kernel = |n| json!({"kernels": [{"kernel_id": id(n), "slots": {"cpu": 1}}]});
    q.enqueued(but(wanting(1, "AK", json!({})), kernel(100))).await;
    assert_eq!(q.enqueue(but(wanting(2, "AK", json!({})), kernel(100))).await, "OC006");
    q.tick("").await;
    assert_eq!(q.enqueue(but(wanting(2, "AK", json!({})), kernel(100))).await, "OC006");
    // Somebody reserves with an id that waits: the queue finds out and goes on.
    q.enqueued(but(wanting(3, "AK", json!({})), kernel(101))).await;
    let taken = json!([{"kernel_id": id(101), "agent": "a1", "slots": {"cpu": 1}}]);
    q.run(&format!("select occupancy.reserve_session('{}', 'AK', '{taken}')", id(4))).await;
    q.enqueued(wanting(5, "AK", json!({"cpu": 1}))).await;
    assert_eq!(q.tick("").await, ["3 waiting kernel_id_taken", "5 -> a1"]);
}

#[tokio::test]
async fn mistakes_of_a_tick_are_refused() {
    let q = Queue::with(1).await;
    for arguments in [
        "policy => 'unknown'",
        "selector => 'unknown'",
        "policy => null",
        "max_sessions => 0",
        "max_sessions => 10001",
        "max_sessions => -1",
        "max_sessions => 2147483647",
        "max_sessions => null",
        "selector => null",
        "selector => 'Dispersed'",
        "tries => null",
        "resource_group => null",
        "resource_group => repeat('x', 257)",
        "resource_group => ''",
        "tries => -1",
        "wait => null",
    ] {
        let sql = format!("select occupancy.schedule_sessions({arguments})");
        assert_eq!(q.refused(&sql, &[]).await, "OC005", "{arguments}");
    }
    assert_eq!(q.tick("'a group that nobody knows'").await, [""; 0]);
    q.run("begin isolation level repeatable read").await;
    assert_eq!(q.refused("select occupancy.schedule_sessions()", &[]).await, "OC008");
    q.run("rollback").await;
}

#[tokio::test]
async fn the_audit_sees_a_queue_that_is_out_of_step_and_a_recalculation_mends_it() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.run("update occupancy.key_queue set sessions = 7, slots = '{}'").await;
    let findings = q.platform.findings().await;
    assert_eq!(
        findings,
        [
            "queue_use of queue of keypair AK: expected 1 sessions, {\"cpu\": \"1\"}, found 7 sessions, {}"
        ]
    );
    assert_eq!(
        q.ask("select subject from occupancy.recalc_queue_fullscan()").await,
        "queue of keypair AK"
    );
    q.platform.assert_sound().await;
    assert_eq!(q.ask("select count(*) from occupancy.recalc_queue('AK')").await, "0");
    assert_eq!(q.refused("select occupancy.recalc_queue('nobody')", &[]).await, "OC002");
}

#[tokio::test]
async fn the_recalculations_of_a_key_mend_what_it_has_pending() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    for recalculation in ["recalc_concurrency('AK')", "recalc_concurrency_fullscan()"] {
        q.run("update occupancy.key_queue set sessions = 0, slots = '{\"mem\": \"5\"}'").await;
        let mend =
            format!("select concat_ws(' ', subject, before, after) from occupancy.{recalculation}");
        assert_eq!(
            q.ask(&mend).await,
            "queue of keypair AK {\"slots\": {\"mem\": \"5\"}, \"sessions\": 0} \
             {\"slots\": {\"cpu\": \"1\"}, \"sessions\": 1}"
        );
        q.platform.assert_sound().await;
    }
}

#[tokio::test]
async fn what_is_pruned_leaves_no_history() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.tick("").await;
    q.release(1).await;
    assert_eq!(q.ask("select count(*) from occupancy.history").await, "3");
    assert_eq!(q.ask("select occupancy.prune_ended('0')").await, "1");
    assert_eq!(q.ask("select count(*) from occupancy.history").await, "0");
}
