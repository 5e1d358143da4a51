//! Recalculations at full load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::platform::{
    Call, Platform, ask, release, release_batch, release_kernel, reserve, reserve_batch, settle,
    terminate,
};

/// Recalculations in all, however few seconds the long races are given.
const RECALCULATIONS: usize = 1_000;
/// Connections that reserve and release as fast as they can.
const WORKERS: u64 = 8;
/// Sessions that each of them has at most at any time.
const KEPT: usize = 6;

/// Every one there is, with one row per correction.
const KINDS: [&str; 8] = [
    "select count(*) from occupancy.recalc_concurrency('AK')",
    "select count(*) from occupancy.recalc_agent('a1')",
    "select count(*) from occupancy.recalc_quota('user', 'alice')",
    "select count(*) from occupancy.recalc_concurrency('BK')",
    "select count(*) from (select session_id from occupancy.sessions limit 1) as s,
       occupancy.recalc_agents_by_session(s.session_id)",
    "select count(*) from occupancy.recalc_concurrency_fullscan()",
    "select count(*) from occupancy.recalc_agents_fullscan()",
    "select count(*) from occupancy.recalc_quotas_fullscan()",
];

/// What somebody may do by hand that keeps nobody from ending a session, since all of it counts too
/// much. A row at a time, so that it keeps the one lock order.
const DAMAGES: [&str; 6] = [
    "update occupancy.keypair set compute_used = compute_used + 1 where access_key = 'AK'",
    "update occupancy.keypair set occupied_slots = occupied_slots || '{\"gpu\": \"1\"}' where access_key = 'BK'",
    "insert into occupancy.session_concurrency values ('BK', gen_random_uuid(), false)",
    "update occupancy.agent set occupied_slots = occupied_slots || '{\"gpu\": \"1\"}' where agent_id = 'a1'",
    "update occupancy.quota set used = used + 1 where scope = 'user'",
    "insert into occupancy.kernel values
       (gen_random_uuid(), gen_random_uuid(), 1, false, 'a2', '{\"gpu\": \"1\"}', null, null)",
];

async fn everything_is_charged() -> Platform {
    Platform::new(
        "select occupancy.put_resource_policy('student', 1000, 1000);
         select occupancy.put_keypair(key, 'alice', 'student', domain => 'campus')
           from unnest(array['AK', 'BK']) as key;
         select occupancy.put_agent(id, '{\"cpu\": 1000}') from unnest(array['a1', 'a2', 'a3']) as id;
         select occupancy.put_quota(scope, id) from (values
           ('user', 'alice'), ('project', 'vision'), ('resource_group', 'default'),
           ('domain', 'campus')) as quotas (scope, id);",
    )
    .await
}

fn call(rng: &mut StdRng) -> Call {
    let agents = [&["a1", "a2"][..], &["a3"], &["a2", "a3", "a1"]][rng.random_range(0..3)];
    let call = Call::new(["AK", "BK"][rng.random_range(0..2)], agents).with_project("vision");
    if rng.random_ratio(1, 6) { call.with_type("system") } else { call }
}

/// Reserves and releases until told to stop. Every session is its own, so that every answer is known
/// beforehand. Returns how many it had, and those that it has left.
async fn work(client: &Client, seed: u64, stop: &AtomicBool) -> (usize, Vec<Uuid>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut kept, mut count) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let calls: Vec<Call> = (0..rng.random_range(1..=3)).map(|_| call(&mut rng)).collect();
        let answers = match &calls[..] {
            [call] => vec![reserve(client, call).await.expect("answered")],
            calls => reserve_batch(client, calls).await.expect("answered"),
        };
        count += calls.len();
        for (answer, call) in answers.iter().zip(&calls) {
            assert_eq!(answer.verdict(), "admitted");
            kept.push(call.session_id);
        }
        let kernels = answers[0].kernel_ids();
        match rng.random_range(0..4) {
            0 => {
                let slots = json!({"cpu": "0.25"});
                assert_eq!(settle(client, kernels[0], &slots).await.expect("answered"), "settled");
            }
            1 if kernels.len() > 1 => {
                let ended = release_kernel(client, kernels[1]).await.expect("answered");
                assert_eq!(ended, ("released".to_owned(), false));
            }
            2 => {
                let ended = terminate(client, calls[0].session_id).await.expect("answered");
                assert_eq!(ended, "terminating");
            }
            _ => {}
        }
        while kept.len() > KEPT {
            let mut ids: Vec<Uuid> = kept.drain(..rng.random_range(1..=3)).collect();
            let outcomes = if ids.len() == 1 {
                vec![release(client, ids.remove(0)).await.expect("answered")]
            } else {
                release_batch(client, &ids).await.expect("answered")
            };
            assert!(outcomes.iter().all(|outcome| outcome == "released"), "{outcomes:?}");
        }
    }
    (count, kept)
}

/// Recalculates as often as there is something left to do, and tells how much that corrected. With
/// `damages` it does some harm before each.
async fn recalculate(client: &Client, left: &AtomicUsize, damages: bool) -> u64 {
    let mut corrected = 0;
    while let Ok(n) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
    {
        if damages {
            client.batch_execute(DAMAGES[n % DAMAGES.len()]).await.expect("done by hand");
        }
        let rows = ask(client, KINDS[n % KINDS.len()]).await.expect("answered").expect("a count");
        corrected += rows.parse::<u64>().expect("a count");
    }
    corrected
}

/// Three recalculate while eight work. Returns how many rows were corrected.
async fn at_full_load(platform: &Platform, recalculations: usize, damages: bool) -> u64 {
    let crowd = platform.crowd(3 + u32::try_from(WORKERS).expect("few")).await;
    let (operators, workers) = crowd.clients.split_at(3);
    let (stop, left) = (AtomicBool::new(false), AtomicUsize::new(recalculations));
    let recalculating = async {
        let all = operators.iter().map(|client| recalculate(client, &left, damages));
        let corrected: u64 = join_all(all).await.into_iter().sum();
        stop.store(true, Ordering::Relaxed);
        corrected
    };
    let working = join_all((0..).zip(workers).map(|(seed, client)| work(client, seed, &stop)));
    let (corrected, worked) = tokio::join!(recalculating, working);

    let sessions: usize = worked.iter().map(|(count, _)| count).sum();
    println!("{recalculations} recalculations beside {sessions} sessions: {corrected} corrections");
    assert!(sessions > recalculations / 10, "hardly a load: {sessions} sessions");
    let kept: Vec<Uuid> = worked.into_iter().flat_map(|(_, kept)| kept).collect();
    let live = platform.ask("select count(*) from occupancy.sessions").await;
    assert_eq!(live, kept.len().to_string(), "nobody was lost, nobody brought back");
    if damages {
        for sql in &KINDS[5..] {
            platform.run(sql).await;
        }
    }
    platform.assert_sound().await;
    let outcomes = release_batch(&platform.admin, &kept).await.expect("answered");
    assert!(outcomes.iter().all(|outcome| outcome == "released"), "{outcomes:?}");
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
    corrected
}

#[tokio::test]
async fn a_thousand_recalculations_at_full_load_lose_nothing_and_correct_nothing() {
    // Somebody does not trust the numbers, and recalculates all day, while everybody works. Nothing
    // is ever wrong, so that whatever a recalculation corrected, it would have made wrong.
    let platform = everything_is_charged().await;
    assert_eq!(at_full_load(&platform, RECALCULATIONS, false).await, 0);
}

#[tokio::test]
async fn recalculations_at_full_load_mend_what_is_damaged_meanwhile() {
    // The same while somebody else damages the numbers all the time. They are mended without anybody
    // noticing, and in the end everything is right.
    let platform = everything_is_charged().await;
    assert!(at_full_load(&platform, RECALCULATIONS / 4, true).await > 0);
}
