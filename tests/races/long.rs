//! Everything at once, for a minute.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::support::platform::{
    Admission, Call, Platform, release, release_batch, release_kernel, reserve, reserve_batch,
    settle, sqlstate, terminate,
};
use crate::support::race_time;

/// Sessions that somebody may act on.
const IN_SIGHT: usize = 60;

/// What no key, agent or domain may ever be beyond: the highest limits that are in force at any time.
const BEYOND: &str = "
    select 'key ' || access_key from occupancy.concurrency where compute_used > 6 or system_used > 2
    union all
    select 'agent ' || agent_id from occupancy.agent_occupancy
    where (occupied_slots ->> 'cpu')::numeric > 12 or (occupied_slots ->> 'cuda.shares')::numeric > 2
    union all
    select 'domain ' || scope_id from occupancy.quotas where scope = 'domain' and used > 16";

/// Sessions that the workers have in common, oldest first.
#[derive(Default)]
struct Scene(Mutex<Vec<Call>>);

impl Scene {
    /// A session that nobody has sent yet, but that from now on everybody may act on.
    fn enter(&self, rng: &mut StdRng) -> Call {
        let mut agents: Vec<usize> =
            (0..rng.random_range(1..=3)).map(|_| rng.random_range(1..=5)).collect();
        agents.sort_unstable_by_key(|_| rng.random::<u32>());
        let kernels: Value = agents
            .iter()
            .map(|agent| {
                json!({
                    "kernel_id": Uuid::new_v4(),
                    "agent": format!("a{agent}"),
                    "slots": {"cpu": rng.random_range(1..=3), "cuda.shares": "0.3"},
                })
            })
            .collect();
        let mut call =
            Call::new(&format!("K{}", rng.random_range(1..=5)), &[]).with_kernels(kernels);
        if rng.random_ratio(1, 8) {
            call = call.with_type("system");
        }
        if rng.random_ratio(1, 2) {
            call = call.with_project("vision");
        }
        let mut calls = self.0.lock().expect("no worker panicked");
        if calls.len() == IN_SIGHT {
            calls.remove(0);
        }
        calls.push(call.clone());
        call
    }

    /// One that is there already, or else a new one.
    fn pick(&self, rng: &mut StdRng) -> Call {
        let picked = self.0.lock().expect("no worker panicked").choose(rng).cloned();
        picked.unwrap_or_else(|| self.enter(rng))
    }

    /// Several in any order, one in `new` of them a new one.
    fn mix(&self, new: u32, rng: &mut StdRng) -> Vec<Call> {
        (0..rng.random_range(1..=6))
            .map(|_| if rng.random_ratio(1, new) { self.enter(rng) } else { self.pick(rng) })
            .collect()
    }

    /// A session that came to nothing goes, so that most of those in sight live.
    fn judge(&self, answer: &Admission) -> String {
        let within = answer.used <= answer.max || answer.outcome != "admitted";
        assert!(within, "beyond its limit: {answer:?}");
        if answer.outcome == "rejected" {
            self.0
                .lock()
                .expect("no worker panicked")
                .retain(|call| Some(call.session_id) != answer.session_id);
        }
        answer.outcome.clone()
    }
}

/// A kernel of a session, by the id that its caller gave it.
fn any_kernel(call: &Call, rng: &mut StdRng) -> Uuid {
    let kernels = call.kernels.as_array().expect("an array");
    let kernel = kernels.choose(rng).expect("a session has kernels");
    kernel["kernel_id"].as_str().and_then(|id| id.parse().ok()).expect("a UUID")
}

/// Something that the operator, an agent or the janitor does.
fn housekeeping(rng: &mut StdRng) -> String {
    let (n, limit) = (rng.random_range(1..=5), rng.random_range(3..=6));
    match rng.random_range(0..16) {
        0 => format!("select occupancy.put_resource_policy('p{n}', {limit}, 2)"),
        1 => format!(
            "select occupancy.put_keypair('K{n}', 'u{}', 'p{n}', domain => 'campus')",
            n % 2
        ),
        2 => format!("select occupancy.put_keypair('K{n}', 'u0', 'p1', {}, 'campus')", limit > 3),
        3 => format!("select occupancy.put_quota('user', 'u{}', {limit})", n % 2),
        4 => format!("select occupancy.drop_quota('user', 'u{}')", n % 2),
        5 => "select occupancy.put_quota('project', 'vision', null, '{\"cpu\": 20}')".to_owned(),
        6 => "select occupancy.drop_quota('project', 'vision')".to_owned(),
        7 | 8 => format!(
            "select occupancy.put_agent('a{n}', '{{\"cpu\": {}, \"cuda.shares\": 2}}')",
            limit * 2
        ),
        9 => format!("select occupancy.put_agent('a{n}', schedulable => {})", limit > 3),
        10 => format!(
            "select occupancy.put_agent('a5', resource_group => '{}')",
            ["default", "other"][n % 2]
        ),
        11 => format!("select occupancy.recalc_concurrency('K{n}')"),
        12 => format!("select occupancy.recalc_agent('a{n}')"),
        13 => [
            "select occupancy.recalc_concurrency_fullscan()",
            "select occupancy.recalc_agents_fullscan()",
            "select occupancy.recalc_quotas_fullscan()",
        ][n % 3]
            .to_owned(),
        14 => "select occupancy.prune_ended('1 s')".to_owned(),
        _ => format!("select occupancy.clear_concurrency('K{n}')"),
    }
}

/// One random call: what was done and what came of it, one or more times.
async fn act(client: &Client, scene: &Scene, rng: &mut StdRng) -> Result<Vec<String>, Error> {
    let done = |what: &str, answers: Vec<String>| {
        answers.into_iter().map(|answer| format!("{what}: {answer}")).collect()
    };
    Ok(match rng.random_range(0..100) {
        0..28 => done("reserve", vec![scene.judge(&reserve(client, &scene.enter(rng)).await?)]),
        28..38 => done("repeat", vec![scene.judge(&reserve(client, &scene.pick(rng)).await?)]),
        38..50 => {
            let answers = reserve_batch(client, &scene.mix(2, rng)).await?;
            done("batch", answers.iter().map(|answer| scene.judge(answer)).collect())
        }
        50..64 => done("release", vec![release(client, scene.pick(rng).session_id).await?]),
        64..72 => {
            let ids: Vec<Uuid> = scene.mix(8, rng).iter().map(|call| call.session_id).collect();
            done("batch release", release_batch(client, &ids).await?)
        }
        72..78 => done("terminate", vec![terminate(client, scene.pick(rng).session_id).await?]),
        78..84 => {
            let kernel = any_kernel(&scene.pick(rng), rng);
            done("release kernel", vec![release_kernel(client, kernel).await?.0])
        }
        84..90 => {
            // Never more than was requested, and of one kernel always the same: what it gave back
            // may be somebody else's by now. So no agent is taken beyond its capacity.
            let slots = [json!({}), json!({"cpu": "0.7"}), json!({"cuda.shares": "0.3"})];
            let kernel = any_kernel(&scene.pick(rng), rng);
            let slots = &slots[usize::from(kernel.as_bytes()[0]) % slots.len()];
            done("settle", vec![settle(client, kernel, slots).await?])
        }
        _ => {
            let sql = housekeeping(rng);
            client.batch_execute(&sql).await?;
            let function = sql.split(['.', '(']).nth(1).expect("a call");
            done(function, vec!["answered".to_owned()])
        }
    })
}

/// A caller's mistakes that the race makes on purpose.
fn is_expected(code: &str) -> bool {
    // A kernel that was never admitted; agents that are of two groups just now.
    ["OC004", "OC005"].contains(&code)
}

/// Acts until `end`, and counts what came of it.
async fn work(client: &Client, scene: &Scene, seed: u64, end: Instant) -> BTreeMap<String, u64> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tally = BTreeMap::new();
    while Instant::now() < end {
        let result = act(client, scene, &mut rng).await;
        let outcomes = match (sqlstate(&result), &result) {
            (Some(code), Err(error)) => {
                assert!(is_expected(code), "{error:?}");
                vec![format!("error: {code}")]
            }
            _ => result.expect("no error"),
        };
        for outcome in outcomes {
            *tally.entry(outcome).or_default() += 1;
        }
    }
    tally
}

/// Looks until `end`: nothing unsound, and nobody beyond a limit. Returns how often it looked.
async fn watch(platform: &Platform, end: Instant) -> u64 {
    let beyond = format!("select string_agg(who, ', ') from ({BEYOND}) as t (who)");
    let mut looks = 0;
    while Instant::now() < end {
        platform.assert_sound().await;
        assert_eq!(platform.ask(&beyond).await, "", "beyond a limit");
        looks += 1;
    }
    looks
}

#[tokio::test]
async fn nothing_that_happens_at_once_deadlocks_or_miscounts() {
    // A busy day in a minute: managers, agents, operators and janitors do whatever they do, 32 at a
    // time, to the same few keys, agents and sessions. At no moment may the audit find anything, and
    // nobody may ever be told to try again.
    let platform = Platform::new(
        "select occupancy.put_resource_policy('p' || n, 6, 2) from generate_series(1, 5) as n;
         select occupancy.put_keypair('K' || n, 'u' || n % 2, 'p' || n, domain => 'campus')
           from generate_series(1, 5) as n;
         select occupancy.put_agent('a' || n, '{\"cpu\": 12, \"cuda.shares\": 2}')
           from generate_series(1, 5) as n;
         select occupancy.put_quota('domain', 'campus', 16);",
    )
    .await;
    let crowd = platform.crowd(32).await;
    let scene = Scene::default();
    let end = Instant::now() + race_time();
    let workers = (0..).zip(&crowd.clients).map(|(seed, client)| work(client, &scene, seed, end));
    let (tallies, looks) = tokio::join!(join_all(workers), watch(&platform, end));

    let mut total = BTreeMap::new();
    for (outcome, n) in tallies.into_iter().flatten() {
        *total.entry(outcome).or_insert(0) += n;
    }
    println!("{looks} audits beside {total:#?}");
    for outcome in [
        "reserve: admitted",
        "reserve: rejected",
        "repeat: already_admitted",
        "batch: admitted",
        "batch: already_admitted",
        "batch: rejected",
        "release: released",
        "batch release: released",
        "terminate: terminating",
        "release kernel: released",
        "settle: settled",
        "put_quota: answered",
        "recalc_agent: answered",
        "put_agent: answered",
    ] {
        assert!(total.contains_key(outcome), "never happened: {outcome}");
    }
    platform
        .run("select occupancy.release_sessions(array(select session_id from occupancy.sessions))")
        .await;
    platform.assert_empty().await;
    platform.assert_no_conflict_logged().await;
}
