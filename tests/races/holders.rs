//! Managers beat, are fenced, confirm and are reclaimed from, all at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::support::platform::{Call, Platform, ask, release, release_batch, reserve, sqlstate};
use crate::support::{backend_pid, race_time, wait_until_blocked};

/// Registers a manager that is suspect after 10 s and expired after 15 s.
async fn register(platform: &Platform, manager: &str) -> i64 {
    let sql = "select epoch from occupancy.register_manager($1, '10 s', '5 s')";
    platform.admin.query_one(sql, &[&manager]).await.expect("registered").get(0)
}

/// Lets so much time pass.
async fn pass(platform: &Platform, time: &str) {
    platform
        .run(&format!(
            "create or replace function occupancy.clock() returns timestamptz
             language sql volatile parallel safe return clock_timestamp() + interval '{time}'"
        ))
        .await;
}

async fn reserve_as(
    client: &Client,
    call: &Call,
    manager: &str,
    epoch: i64,
) -> Result<String, Error> {
    let sql = "select outcome from occupancy.reserve_session(
                 $1, $2, $3, manager => $4, epoch => $5)";
    let arguments: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&call.session_id, &call.access_key, &call.kernels, &manager, &epoch];
    Ok(client.query_one(sql, &arguments).await?.get(0))
}

async fn confirm(client: &Client, id: Uuid, manager: &str, epoch: i64) -> Result<String, Error> {
    let sql = "select outcome from occupancy.confirm_session($1, $2, $3)";
    Ok(client.query_one(sql, &[&id, &manager, &epoch]).await?.get(0))
}

async fn heartbeat(client: &Client, manager: &str, epoch: i64) -> Result<String, Error> {
    let sql = "select outcome from occupancy.heartbeat_manager($1, $2)";
    Ok(client.query_one(sql, &[&manager, &epoch]).await?.get(0))
}

async fn reclaim(client: &Client, max_sessions: i64) -> Result<Vec<Uuid>, Error> {
    let sql = "select session_id from occupancy.reclaim_expired($1)";
    Ok(client.query(sql, &[&max_sessions]).await?.iter().map(|row| row.get(0)).collect())
}

/// A platform on which manager `m1` holds so many sessions.
async fn held(sessions: usize) -> (Platform, i64, Vec<Call>) {
    let platform = Platform::with_limit(1000).await;
    let epoch = register(&platform, "m1").await;
    let agents = ["a1", "a2", "a3"];
    let calls: Vec<Call> = (0..sessions).map(|n| Call::new("AK", &[agents[n % 3]])).collect();
    for call in &calls {
        let outcome = reserve_as(&platform.admin, call, "m1", epoch).await.expect("answered");
        assert_eq!(outcome, "admitted");
    }
    (platform, epoch, calls)
}

#[tokio::test]
async fn of_many_reclaims_at_once_each_session_is_freed_by_one() {
    // A manager died with many sessions, and everybody notices: each of its peers reclaims, a few
    // at a time, until nothing is left.
    let (platform, _, calls) = held(60).await;
    pass(&platform, "15 s").await;
    let crowd = platform.crowd(8).await;
    let freed = join_all(crowd.clients.iter().map(async |client| {
        let mut freed = Vec::new();
        loop {
            let some = reclaim(client, 7).await.expect("answered");
            if some.is_empty() {
                return freed;
            }
            freed.extend(some);
        }
    }))
    .await
    .concat();
    let distinct: BTreeSet<_> = freed.iter().copied().collect();
    assert_eq!(freed.len(), distinct.len(), "none is freed twice");
    assert_eq!(distinct, calls.iter().map(|call| call.session_id).collect());
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_beat_between_look_and_lock_saves_what_the_manager_holds() {
    // A reclaim has read the clock, and finds the manager silent. Before it has locked anything, the
    // manager beats and commits. What the living holds is not freed.
    let (platform, epoch, _) = held(3).await;
    platform
        .run(
            "create or replace function occupancy.clock() returns timestamptz
             language plpgsql volatile as $$
             begin
               if current_setting('application_name') = 'reclaims' then
                 perform pg_advisory_xact_lock(42);
               end if;
               return clock_timestamp() + interval '15 s';
             end; $$",
        )
        .await;
    let gate = platform.begin().await;
    gate.batch_execute("select pg_advisory_xact_lock(42)").await.expect("locked");
    let client = platform.db.connect().await;
    client.batch_execute("set application_name = 'reclaims'").await.expect("set");
    let pid = backend_pid(&client).await;
    let late = tokio::spawn(async move { reclaim(&client, 100).await });
    wait_until_blocked(&platform.admin, pid).await;
    let beat = heartbeat(&platform.admin, "m1", epoch).await.expect("answered");
    assert_eq!(beat, "recovered");
    gate.batch_execute("commit").await.expect("committed");
    assert_eq!(late.await.expect("ended").expect("answered"), [] as [Uuid; 0]);
    assert_eq!(platform.used("AK").await, 3);
}

#[tokio::test]
async fn a_beat_under_way_is_passed_over_by_a_reclaim() {
    // The manager's beat has not been committed yet. The reclaim neither waits nor frees.
    let (platform, epoch, _) = held(3).await;
    pass(&platform, "15 s").await;
    let beating = platform.begin().await;
    heartbeat(&beating, "m1", epoch).await.expect("answered");
    assert_eq!(reclaim(&platform.admin, 100).await.expect("answered"), [] as [Uuid; 0]);
    beating.batch_execute("commit").await.expect("committed");
    assert_eq!(reclaim(&platform.admin, 100).await.expect("answered"), [] as [Uuid; 0]);
    assert_eq!(platform.used("AK").await, 3);
}

#[tokio::test]
async fn a_beat_waits_for_a_reclaim_under_way_and_is_told() {
    // The other way round: the reclaim was first, and frees. The beat comes to know that some time
    // was lost, and the confirmations that their sessions were.
    let (platform, epoch, calls) = held(1).await;
    pass(&platform, "15 s").await;
    let reclaiming = platform.begin().await;
    let freed = reclaim(&reclaiming, 100).await.expect("answered");
    assert_eq!(freed, [calls[0].session_id]);
    let beat = platform.blocked(async move |client| heartbeat(&client, "m1", epoch).await).await;
    let id = calls[0].session_id;
    let late = platform.blocked(async move |client| confirm(&client, id, "m1", epoch).await).await;
    reclaiming.batch_execute("commit").await.expect("committed");
    assert_eq!(beat.await.expect("ended").expect("answered"), "recovered");
    assert_eq!(sqlstate(&late.await.expect("ended")), Some("OC009"));
    platform.assert_empty().await;
}

#[tokio::test]
async fn of_a_confirmation_and_a_reclaim_one_wins() {
    // The manager is late, but its confirmation has come before the reclaim, which passes it over.
    let (platform, epoch, calls) = held(2).await;
    pass(&platform, "15 s").await;
    let confirming = platform.begin().await;
    let outcome = confirm(&confirming, calls[0].session_id, "m1", epoch).await.expect("answered");
    assert_eq!(outcome, "confirmed");
    let freed = reclaim(&platform.admin, 100).await.expect("answered");
    assert_eq!(freed, [calls[1].session_id]);
    confirming.batch_execute("commit").await.expect("committed");
    assert_eq!(reclaim(&platform.admin, 100).await.expect("answered"), [] as [Uuid; 0]);
    assert_eq!(platform.used("AK").await, 1);
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_confirmation_that_is_taken_back_leaves_the_session_to_the_reclaim() {
    // The manager dies in the middle of its confirmation.
    let (platform, epoch, calls) = held(1).await;
    pass(&platform, "15 s").await;
    let confirming = platform.begin().await;
    confirm(&confirming, calls[0].session_id, "m1", epoch).await.expect("answered");
    assert_eq!(reclaim(&platform.admin, 100).await.expect("answered"), [] as [Uuid; 0]);
    confirming.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(reclaim(&platform.admin, 100).await.expect("answered").len(), 1);
    platform.assert_empty().await;
}

#[tokio::test]
async fn a_newer_start_waits_for_calls_under_way_and_later_ones_are_fenced() {
    // The old process is still in the middle of a reservation when its successor starts. Once the
    // successor has its epoch, nothing of the old one can come about any more.
    let (platform, epoch, calls) = held(1).await;
    let under_way = platform.begin().await;
    let outcome = confirm(&under_way, calls[0].session_id, "m1", epoch).await.expect("answered");
    assert_eq!(outcome, "confirmed");
    let start = platform
        .blocked(async |client| {
            ask(&client, "select epoch from occupancy.register_manager('m1', '10 s')").await
        })
        .await;
    let call = Call::new("AK", &["a1"]);
    let late =
        platform.blocked(async move |client| reserve_as(&client, &call, "m1", epoch).await).await;
    under_way.batch_execute("commit").await.expect("committed");
    start.await.expect("ended").expect("answered").expect("an epoch");
    assert_eq!(sqlstate(&late.await.expect("ended")), Some("OC009"));
    assert_eq!(platform.used("AK").await, 1);
}

#[tokio::test]
async fn of_many_starts_at_once_one_is_not_fenced() {
    // A supervisor goes mad and starts the same manager many times.
    let platform = Platform::with_limit(10).await;
    let crowd = platform.crowd(16).await;
    let epochs = join_all(crowd.clients.iter().map(async |client| {
        let sql = "select epoch from occupancy.register_manager('m1', '10 s')";
        client.query_one(sql, &[]).await.expect("answered").get::<_, i64>(0)
    }))
    .await;
    let distinct: BTreeSet<_> = epochs.iter().copied().collect();
    assert_eq!(distinct.len(), 16);
    let living =
        "select string_agg(epoch::text, ' ') from occupancy.managers where status = 'ALIVE'";
    assert_eq!(platform.ask(living).await, distinct.last().expect("some").to_string());
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_takeover_and_a_beat_one_wins() {
    // Another manager repeats the reservation of one that is silent, which beats right then.
    let (platform, epoch, calls) = held(1).await;
    let other = register(&platform, "m2").await;
    pass(&platform, "10 s").await;
    heartbeat(&platform.admin, "m2", other).await.expect("answered");
    let beating = platform.begin().await;
    heartbeat(&beating, "m1", epoch).await.expect("answered");
    let call = calls[0].clone();
    let repeated =
        platform.blocked(async move |client| reserve_as(&client, &call, "m2", other).await).await;
    beating.batch_execute("commit").await.expect("committed");
    assert_eq!(repeated.await.expect("ended").expect("answered"), "already_admitted");
    let id = calls[0].session_id;
    assert_eq!(sqlstate(&confirm(&platform.admin, id, "m2", other).await), Some("OC009"));
    assert_eq!(confirm(&platform.admin, id, "m1", epoch).await.expect("answered"), "confirmed");
}

#[tokio::test]
async fn a_heartbeat_under_way_keeps_an_agent_from_being_lost() {
    // The sweep has seen the agent silent, and waits for its row, which a heartbeat has changed.
    let platform = Platform::with_limit(10).await;
    pass(&platform, "1 min").await;
    let beating = platform.begin().await;
    beating.batch_execute("select occupancy.put_agent('a1')").await.expect("answered");
    let sweep = platform
        .blocked(async |client| {
            let sql = "select string_agg(agent_id, ' ' order by agent_id)
                         from occupancy.sweep_agents('59 s')";
            ask(&client, sql).await
        })
        .await;
    beating.batch_execute("commit").await.expect("committed");
    let lost = sweep.await.expect("ended").expect("answered");
    assert_eq!(lost.as_deref(), Some("a2 a3"));
}

#[tokio::test]
async fn an_evacuation_and_releases_free_each_kernel_once_and_do_not_deadlock() {
    // An agent is lost: whoever notices evacuates it, while its sessions, which have kernels
    // elsewhere too, are released one by one and in batches.
    let platform = Platform::with_limit(1000).await;
    let crowd = platform.crowd(12).await;
    for round in 0..8 {
        let calls: Vec<Call> = (0..12)
            .map(|n| Call::new("AK", &[["a1", "a2"], ["a3", "a1"], ["a2", "a3"]][(n + round) % 3]))
            .collect();
        for call in &calls {
            reserve(&platform.admin, call).await.expect("answered");
        }
        let ids: Vec<Uuid> = calls.iter().map(|call| call.session_id).collect();
        join_all(crowd.clients.iter().enumerate().map(async |(n, client)| match n % 3 {
            0 => {
                let sql = "select count(*) from occupancy.evacuate_agent('a1')";
                ask(client, sql).await.expect("answered");
            }
            1 => {
                let mut ids = ids.clone();
                ids.rotate_left(n);
                release_batch(client, &ids[..6]).await.expect("answered");
            }
            _ => {
                for id in &ids {
                    release(client, *id).await.expect("answered");
                }
            }
        }))
        .await;
        platform.assert_empty().await;
    }
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn managers_that_start_work_die_and_are_reclaimed_from_do_not_deadlock() {
    // Three managers, each in the hands of two processes that keep fencing each other, reserve,
    // repeat each other's reservations, confirm, beat and release; others reclaim, prune and create
    // quotas, while time jumps back and forth.
    let platform = Platform::with_limit(1000).await;
    let crowd = platform.crowd(9).await;
    let done = AtomicBool::new(false);
    let started = Instant::now();
    let time = race_time().min(Duration::from_secs(20));
    // What several managers are asked for within the same few moments.
    let shared = |n: usize| {
        let moment = started.elapsed().as_millis() / 50;
        Call::new("AK", &[["a1", "a2", "a3"][n % 3]])
            .with_id(Uuid::from_u128(moment * 3 + u128::try_from(n % 3).expect("small")))
    };
    let work = join_all(crowd.clients.iter().enumerate().map(async |(n, client)| {
        let manager = format!("m{}", n % 3);
        let mut round = n;
        while started.elapsed() < time {
            round += 1;
            if n >= 6 {
                let sql = [
                    "select count(*) from occupancy.reclaim_expired(5)",
                    "select occupancy.prune_managers('0')",
                    "select occupancy.put_quota('user', 'alice', 1000) is null",
                    "select occupancy.drop_quota('user', 'alice') is null",
                    "select count(*) from occupancy.suspects",
                ][round % 5];
                ask(client, sql).await.expect("answered");
                continue;
            }
            let sql = "select epoch from occupancy.register_manager($1, '1 s', '0')";
            let epoch: i64 = client.query_one(sql, &[&manager]).await.expect("answered").get(0);
            for step in 0..6 {
                let call = match step % 2 {
                    0 => Call::new("AK", &["a2"]),
                    _ => shared(round + step),
                };
                let calls = async {
                    reserve_as(client, &call, &manager, epoch).await?;
                    if (round + step).is_multiple_of(3) {
                        confirm(client, call.session_id, &manager, epoch).await?;
                    }
                    heartbeat(client, &manager, epoch).await?;
                    if (round + step).is_multiple_of(4) {
                        let sql = "select outcome from occupancy.release_session($1, $2, $3)";
                        let id = call.session_id;
                        client.query_one(sql, &[&id, &manager, &epoch]).await?;
                    }
                    Ok::<_, Error>(())
                };
                let answer = calls.await;
                assert!(matches!(sqlstate(&answer), None | Some("OC009")), "{answer:?}");
                if step == 5 {
                    release(client, call.session_id).await.expect("answered");
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    }));
    let times = async {
        let mut ahead = 0;
        while !done.load(Ordering::Relaxed) {
            ahead = (ahead + 1) % 3;
            pass(&platform, &format!("{} s", ahead * 2)).await;
            platform.assert_sound().await;
        }
    };
    tokio::join!(work, times);
    let reclaimed =
        platform.ask("select count(*) from occupancy.session where reclaimed_at is not null");
    assert_ne!(reclaimed.await, "0");
    platform.run("select occupancy.clear_concurrency('AK')").await;
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}
