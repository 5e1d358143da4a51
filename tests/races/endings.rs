//! Sessions end while others begin, or end twice at once.

use futures_util::future::join_all;
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use super::KEY;
use crate::support::platform::{
    Call, Platform, release, release_batch, release_kernel, reserve, reserve_batch, settle,
    terminate,
};

/// Two keys whose user, project, group and domain all have quotas, and three agents.
async fn everything_is_charged() -> Platform {
    Platform::new(
        "select occupancy.put_resource_policy('student', 1000);
         select occupancy.put_keypair('AK', 'alice', 'student', domain => 'campus');
         select occupancy.put_keypair('BK', 'alice', 'student', domain => 'campus');
         select occupancy.put_agent(id, '{\"cpu\": 1000}') from unnest(array['a1', 'a2', 'a3']) as id;
         select occupancy.put_quota(scope, id, 1000)
           from (values ('user', 'alice'), ('project', 'vision'), ('resource_group', 'default'),
                        ('domain', 'campus')) as quotas (scope, id);",
    )
    .await
}

fn call(n: usize) -> Call {
    let agents = [["a1", "a2"], ["a2", "a3"], ["a3", "a1"]][n % 3];
    Call::new(["AK", "BK"][n % 2], &agents).with_project("vision")
}

#[tokio::test]
async fn release_and_reserve_of_one_session_leave_nothing() {
    // A session is cancelled while it is being placed: its release and its reservation are sent at
    // once, by many. Whoever is first, the session ends up released, and holds nothing.
    let platform = everything_is_charged().await;
    let crowd = platform.crowd(24).await;
    for round in 0..30 {
        let call = call(round);
        let answers = join_all(crowd.clients.iter().enumerate().map(|(n, client)| {
            let call = call.clone();
            async move {
                if (n + round).is_multiple_of(2) {
                    let answer = reserve(client, &call).await.expect("answered");
                    answer.verdict()
                } else {
                    release(client, call.session_id).await.expect("answered")
                }
            }
        }))
        .await;
        let count = |verdict: &str| answers.iter().filter(|answer| *answer == verdict).count();
        assert_eq!(count("released") + count("unknown"), 1, "{answers:?}");
        assert_eq!(count("admitted"), count("released"), "{answers:?}");
    }
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn release_and_reserve_of_batches_do_not_deadlock() {
    // The same in batches that share their ids, each in an order of its own, mixed with single calls.
    let platform = everything_is_charged().await;
    let crowd = platform.crowd(24).await;
    for round in 0..15 {
        let calls: Vec<Call> = (0..9).map(|n| call(n + round)).collect();
        let races = crowd.clients.iter().enumerate().map(|(n, client)| {
            let mut calls = calls.clone();
            calls.rotate_left(n % 9);
            if n.is_multiple_of(3) {
                calls.reverse();
            }
            async move {
                let ids: Vec<Uuid> = calls.iter().map(|call| call.session_id).collect();
                match n % 4 {
                    0 | 1 => {
                        let answers = reserve_batch(client, &calls).await.expect("answered");
                        answers.iter().map(super::Admission::verdict).collect()
                    }
                    2 => release_batch(client, &ids).await.expect("answered"),
                    _ => vec![
                        release(client, ids[0]).await.expect("answered"),
                        reserve(client, &calls[1]).await.expect("answered").verdict(),
                    ],
                }
            }
        });
        let answers = join_all(races).await.concat();
        let count = |verdict: &str| answers.iter().filter(|answer| *answer == verdict).count();
        assert_eq!(count("released") + count("unknown"), 9, "each id ended once: {answers:?}");
        assert_eq!(count("admitted"), count("released"), "{answers:?}");
    }
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_release_wins_over_a_late_reservation() {
    // The cancellation overtakes the reservation. It is not committed yet when the reservation
    // arrives, which has to wait for it and then finds the session ended.
    let platform = everything_is_charged().await;
    let call = call(0);
    let cancel = platform.begin().await;
    assert_eq!(release(&cancel, call.session_id).await.expect("answered"), "unknown");
    let late = platform.blocked_reservation(&call).await;
    cancel.batch_execute("commit").await.expect("committed");
    let answer = late.await.expect("the call ended").expect("answered");
    assert_eq!(answer.verdict(), "rejected session_ended");
    assert_eq!(
        release(&platform.admin, call.session_id).await.expect("answered"),
        "already_released"
    );
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_release_that_rolls_back_forbids_nothing() {
    let platform = everything_is_charged().await;
    let call = call(0);
    let cancel = platform.begin().await;
    release(&cancel, call.session_id).await.expect("answered");
    let late = platform.blocked_reservation(&call).await;
    cancel.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(late.await.expect("the call ended").expect("answered").verdict(), "admitted");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_release_waits_for_the_reservation_that_came_first() {
    // The session is being admitted. "Unknown" would leave it running for ever: nobody is going to
    // release it again.
    for batch in [false, true] {
        let platform = everything_is_charged().await;
        let call = call(0);
        let open = platform.begin().await;
        reserve(&open, &call).await.expect("answered");
        let id = call.session_id;
        let releasing = platform
            .blocked(move |client| async move {
                if batch {
                    release_batch(&client, &[id]).await.expect("answered").remove(0)
                } else {
                    release(&client, id).await.expect("answered")
                }
            })
            .await;
        open.batch_execute("commit").await.expect("committed");
        assert_eq!(releasing.await.expect("the call ended"), "released");
        platform.assert_empty().await;
    }
}

#[tokio::test]
async fn a_release_of_a_reservation_that_rolls_back_remembers_the_id() {
    let platform = everything_is_charged().await;
    let call = call(0);
    let open = platform.begin().await;
    reserve(&open, &call).await.expect("answered");
    let id = call.session_id;
    let releasing = platform.blocked(move |client| async move { release(&client, id).await }).await;
    open.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(releasing.await.expect("the call ended").expect("answered"), "unknown");
    let late = reserve(&platform.admin, &call).await.expect("answered");
    assert_eq!(late.verdict(), "rejected session_ended");
    platform.assert_empty().await;
}

#[tokio::test]
async fn of_many_releases_at_once_one_frees() {
    // Manager, agent and sweeper all notice the end of a session. Its slot is freed once: freed
    // twice, the key would admit one too many ever after.
    let platform = everything_is_charged().await;
    let ended = call(0);
    for other in [ended.clone(), call(0), call(2)] {
        reserve(&platform.admin, &other).await.expect("answered");
    }
    let id = ended.session_id;
    let crowd = platform.crowd(24).await;
    let answers = platform
        .stampede(KEY, crowd, |n, client| async move {
            if n.is_multiple_of(2) {
                release(&client, id).await.expect("answered")
            } else {
                release_batch(&client, &[id, id]).await.expect("answered").concat()
            }
        })
        .await;
    assert_eq!(answers.iter().filter(|a| a.starts_with("released")).count(), 1, "{answers:?}");
    assert_eq!(platform.used("AK").await, 2);
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

/// A session of four kernels on three agents: its id and those of its kernels.
async fn four_kernels(platform: &Platform) -> (Uuid, Vec<Uuid>) {
    let slots = json!({"cpu": 2});
    let kernels = ["a1", "a2", "a3", "a1"].map(|agent| json!({"agent": agent, "slots": slots}));
    let call = Call::new("AK", &[]).with_kernels(json!(kernels)).with_project("vision");
    let answer = reserve(&platform.admin, &call).await.expect("answered");
    (call.session_id, answer.kernel_ids())
}

#[tokio::test]
async fn the_last_of_racing_kernels_ends_the_session() {
    // Four agents report at once that their kernel is gone, each twice. None may take another for
    // the last one, nor may all of them believe that somebody else is.
    let platform = everything_is_charged().await;
    let crowd = platform.crowd(8).await;
    for _ in 0..20 {
        let (_, kernels) = four_kernels(&platform).await;
        let answers = join_all(crowd.clients.iter().enumerate().map(|(n, client)| {
            let kernel = kernels[n % 4];
            async move { release_kernel(client, kernel).await.expect("answered") }
        }))
        .await;
        let released: Vec<bool> =
            answers.iter().filter(|(outcome, _)| outcome == "released").map(|a| a.1).collect();
        assert_eq!(released.len(), 4, "{answers:?}");
        assert_eq!(released.iter().filter(|ended| **ended).count(), 1, "{answers:?}");
    }
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}

/// One of the ways in which a session or a kernel of it can change.
async fn change(client: &Client, way: usize, session: Uuid, kernels: &[Uuid]) -> String {
    let kernel = kernels[way % kernels.len()];
    let answer = match way % 6 {
        0 => release(client, session).await,
        1 => release_batch(client, &[session, Uuid::nil()]).await.map(|mut all| all.remove(0)),
        2 => terminate(client, session).await,
        3 => release_kernel(client, kernel).await.map(|(outcome, _)| outcome),
        4 => settle(client, kernel, &json!({"cpu": 1.5, "mem": "1g"})).await,
        _ => settle(client, kernel, &json!({})).await,
    };
    answer.expect("answered")
}

#[tokio::test]
async fn every_way_to_end_frees_exactly_once() {
    // Terminate, settle, the end of one kernel and of all of them race about one session, in every
    // rotation. Each changes what the others are about to give back.
    let platform = everything_is_charged().await;
    let crowd = platform.crowd(12).await;
    for round in 0..24 {
        let (session, kernels) = four_kernels(&platform).await;
        let answers = join_all(
            crowd
                .clients
                .iter()
                .enumerate()
                .map(|(n, client)| change(client, n + round * 5, session, &kernels)),
        )
        .await;
        let freed = "select count(*) from occupancy.session_concurrency";
        assert_eq!(platform.ask(freed).await, "0", "{answers:?}");
    }
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_kernel_ends_with_what_was_settled_meanwhile() {
    // The agent reports what it allotted while the kernel's end waits. What is freed is what was
    // settled, not what the release had read before.
    let platform = everything_is_charged().await;
    let (session, kernels) = four_kernels(&platform).await;
    let settling = platform.begin().await;
    let more = json!({"cpu": 7, "mem": "1g"});
    assert_eq!(settle(&settling, kernels[0], &more).await.expect("answered"), "settled");
    let kernel = kernels[0];
    let ending =
        platform.blocked(move |client| async move { release_kernel(&client, kernel).await }).await;
    settling.batch_execute("commit").await.expect("committed");
    let released = ending.await.expect("the call ended").expect("answered");
    assert_eq!(released, ("released".to_owned(), false));
    platform.assert_sound().await;
    release(&platform.admin, session).await.expect("answered");
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_report_that_comes_after_the_end_changes_nothing() {
    let platform = everything_is_charged().await;
    let (session, kernels) = four_kernels(&platform).await;
    let ending = platform.begin().await;
    release(&ending, session).await.expect("answered");
    let kernel = kernels[0];
    let late = platform
        .blocked(move |client| async move { settle(&client, kernel, &json!({"cpu": 9})).await })
        .await;
    ending.batch_execute("commit").await.expect("committed");
    assert_eq!(late.await.expect("the call ended").expect("answered"), "already_released");
    platform.assert_empty().await;
}

#[tokio::test]
async fn clearing_a_key_ends_what_is_there_and_races_nobody() {
    // A user is purged while sessions of the key begin and end. Those that began before are gone;
    // a later one is whole.
    let platform = everything_is_charged().await;
    let crowd = platform.crowd(24).await;
    for round in 0..10 {
        let calls: Vec<Call> = (0..8).map(|n| call(n + round)).collect();
        reserve_batch(&platform.admin, &calls).await.expect("answered");
        join_all(crowd.clients.iter().enumerate().map(|(n, client)| {
            let ending = calls[n % 8].session_id;
            async move {
                match n % 4 {
                    0 => drop(reserve(client, &call(n)).await.expect("answered")),
                    1 => drop(release(client, ending).await.expect("answered")),
                    2 => drop(terminate(client, ending).await.expect("answered")),
                    _ => client
                        .batch_execute("select occupancy.clear_concurrency('AK')")
                        .await
                        .expect("answered"),
                }
            }
        }))
        .await;
        platform.assert_sound().await;
    }
    platform.run("select occupancy.clear_concurrency(k) from unnest(array['AK', 'BK']) as k").await;
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn forgetting_ended_sessions_races_nobody() {
    // Ended sessions are pruned while their ids are released and reserved again. An id that is
    // forgotten may begin anew, but never halfway.
    let platform = everything_is_charged().await;
    let crowd = platform.crowd(16).await;
    for round in 0..20 {
        let call = call(round);
        join_all(crowd.clients.iter().enumerate().map(|(n, client)| {
            let call = call.clone();
            async move {
                match n % 4 {
                    0 | 1 => drop(reserve(client, &call).await.expect("answered")),
                    2 => drop(release(client, call.session_id).await.expect("answered")),
                    _ => client
                        .batch_execute("select occupancy.prune_ended('0')")
                        .await
                        .expect("answered"),
                }
            }
        }))
        .await;
        platform.assert_sound().await;
        release(&platform.admin, call.session_id).await.expect("answered");
    }
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}
