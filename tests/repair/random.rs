//! Damage at random: whatever is changed by hand, and however much of it at once.

use std::collections::BTreeSet;

use occupancy::schema::Runner;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::ledger::{Tables, assert_told, broken, rows, text};
use crate::support::fixture::{Fixture, each, id, request, with};

/// Damages that are tried, and the seed that draws them.
const DAMAGES: usize = 124;
const SEED: u64 = 20_260_101;

const KEYS: [&str; 3] = ["AK", "AK2", "BK"];
const AGENTS: [&str; 3] = ["i-01", "i-02", "i-03"];

/// Two dozen sessions in every state, of every type, with one to three kernels each, some of which
/// are settled or ended; every scope has a quota. Half a dozen more wait in the queue.
async fn busy(rng: &mut StdRng) -> Fixture {
    let f = Fixture::new().await;
    f.run(
        "select occupancy.put_quota(scope, scope_id) from (values
             ('user', 'u1'), ('user', 'u2'), ('project', 'x'), ('resource_group', 'g1'),
             ('domain', 'd1')) as q (scope, scope_id);
           select occupancy.put_agent(id, '{\"cpu\": 999, \"mem\": 999}')
             from unnest(array['i-01', 'i-02', 'i-03']) as id;",
    )
    .await;
    for n in 1..=24_u128 {
        let kernels: Vec<Value> = (1..=rng.random_range(1..=3_u128))
            .map(|k| {
                json!({
                    "kernel_id": id(100 * n + k),
                    "agent": AGENTS.choose(rng).expect("agents"),
                    "slots": {"cpu": rng.random_range(1..=4), "mem": "0.000000000001"},
                })
            })
            .collect();
        let session_type = if n % 5 == 0 { "system" } else { "batch" };
        let project = if n % 3 == 0 { Value::Null } else { json!("x") };
        let fields = json!({"kernels": kernels, "session_type": session_type, "project": project});
        let key = KEYS.choose(rng).expect("keys");
        assert_eq!(f.reserve(&with(request(n, key, &[]), fields)).await["outcome"], "admitted");
        let (session, kernel) = (id(n), id(100 * n + 1));
        let next = match n % 6 {
            0 => format!("terminate_session('{session}')"),
            1 => format!("release_session('{session}')"),
            2 => format!("settle_kernel('{kernel}', '{{\"cpu\": 0.5}}')"),
            3 => format!("release_kernel('{kernel}')"),
            _ => continue,
        };
        f.outcome(&next).await;
    }
    for n in 25..=30_u128 {
        let key = KEYS.choose(rng).expect("keys");
        let kernels =
            json!([{"kernel_id": id(100 * n), "slots": {"cpu": n}}, {"slots": {"mem": 1}}]);
        let session_type = if n == 30 { "system" } else { "batch" };
        let enqueue = format!(
            "enqueue_session('{}', '{key}', '{kernels}', '{session_type}', resource_group => 'g1',
               dependencies => array['{}']::uuid[])",
            id(n),
            id(n - 1)
        );
        assert_eq!(f.outcome(&enqueue).await, "enqueued");
    }
    f.assert_sound().await;
    f
}

/// The id of a random row that fulfils a condition.
fn pick(
    tables: &Tables,
    table: &str,
    column: &str,
    condition: impl Fn(&Value) -> bool,
    rng: &mut StdRng,
) -> String {
    let matching: Vec<&Value> = rows(tables, table).filter(|row| condition(row)).collect();
    text(matching.choose(rng).expect("a row of that kind"), column).to_owned()
}

/// A change of slots in one direction or the other, or of those that are there.
fn other_slots(rng: &mut StdRng) -> &'static str {
    let changes = [
        "'{}'",
        "occupied_slots - 'cpu'",
        "occupied_slots || '{\"gpu\": \"0.5\"}'",
        "occupied_slots || '{\"cpu\": \"0.000000000001\"}'",
        "occupied_slots || '{\"cpu\": \"-3\"}'",
        "occupied_slots || '{\"cpu\": \"123456789012345678901234.5\"}'",
    ];
    changes.choose(rng).expect("changes")
}

/// One statement of somebody who should not have done that. The kinds take turns, so that all of
/// them occur.
fn damage(kind: usize, tables: &Tables, rng: &mut StdRng) -> String {
    let by: i32 = *[-7, -1, 1, 7].choose(rng).expect("steps");
    let (key, agent) = (*KEYS.choose(rng).expect("keys"), *AGENTS.choose(rng).expect("agents"));
    let slots = other_slots(rng);
    let lives = |row: &Value| row["ended_at"].is_null();
    let running = pick(tables, "session", "session_id", |s| s["status"] == "RUNNING", rng);
    let holding = |row: &Value| lives(row) && row["status"] != "PENDING";
    let holding = pick(tables, "session", "session_id", holding, rng);
    let living = pick(tables, "session", "session_id", lives, rng);
    let waiting = pick(tables, "session", "session_id", |s| s["status"] == "PENDING", rng);
    let ended = pick(tables, "session", "session_id", |s| !lives(s), rng);
    let kernel = pick(tables, "kernel", "kernel_id", lives, rng);
    let quota = pick(tables, "quota", "scope_id", |_| true, rng);
    let system = rng.random_bool(0.5);
    match kind % KINDS {
        0 => format!(
            "update occupancy.keypair set compute_used = compute_used + {by} where access_key = '{key}'"
        ),
        1 => format!(
            "update occupancy.keypair set system_used = system_used + {by} where access_key = '{key}'"
        ),
        2 => format!(
            "update occupancy.keypair set occupied_slots = {slots} where access_key = '{key}'"
        ),
        3 => format!("delete from occupancy.session_concurrency where session_id = '{running}'"),
        4 => format!(
            "insert into occupancy.session_concurrency values ('{key}', '{}', {system})",
            id(rng.random_range(9_000..9_999))
        ),
        5 => format!(
            "insert into occupancy.session_concurrency values ('{key}', '{ended}', {system}) on conflict do nothing"
        ),
        6 => format!(
            "update occupancy.session_concurrency set access_key = '{key}' where session_id = '{running}'"
        ),
        7 => format!(
            "update occupancy.session_concurrency set system = not system where session_id = '{running}'"
        ),
        8 => format!(
            "update occupancy.agent set occupied_slots = {slots} where agent_id = '{agent}'"
        ),
        9 => format!("update occupancy.quota set used = used + {by} where scope_id = '{quota}'"),
        10 => format!(
            "update occupancy.quota set occupied_slots = {slots} where scope_id = '{quota}'"
        ),
        11 => format!(
            "update occupancy.key_queue set sessions = sessions + {by} where access_key = '{key}'"
        ),
        12 => format!(
            "update occupancy.key_queue set slots = {} where access_key = '{key}'",
            slots.replace("occupied_slots", "slots")
        ),
        13 => format!("delete from occupancy.key_queue where access_key = '{key}'"),
        14 => format!("delete from occupancy.kernel where kernel_id = '{kernel}'"),
        15 => format!("update occupancy.kernel set ended_at = now() where kernel_id = '{kernel}'"),
        16 => format!(
            "update occupancy.kernel set settled_slots = '{{\"cpu\": \"0.125\"}}' where kernel_id = '{kernel}'"
        ),
        17 => {
            format!("update occupancy.kernel set agent_id = '{agent}' where kernel_id = '{kernel}'")
        }
        18 => "update occupancy.kernel set ended_at = null where ended_at is not null".to_owned(),
        19 => format!(
            "insert into occupancy.kernel values ('{}', '{ended}', 9, false, '{agent}', '{{\"cpu\": \"2\"}}')",
            id(rng.random_range(9_000..9_999))
        ),
        20 => format!(
            "update occupancy.session set status = 'TERMINATED', ended_at = now() where session_id = '{holding}'"
        ),
        21 => "update occupancy.session set status = 'TERMINATING' where status = 'RUNNING'"
            .to_owned(),
        22 => "update occupancy.session set status = 'RUNNING' where status = 'TERMINATING'"
            .to_owned(),
        23 => format!(
            "update occupancy.session set status = 'RUNNING', ended_at = null where session_id = '{ended}'"
        ),
        24 => format!("delete from occupancy.session where session_id = '{living}'"),
        25 => format!("delete from occupancy.queued_session where session_id = '{waiting}'"),
        26 => format!(
            "update occupancy.queued_session set session_id = '{ended}' where session_id = '{waiting}'"
        ),
        27 => format!(
            "update occupancy.queued_session set access_key = '{key}' where session_id = '{waiting}'"
        ),
        28 => format!(
            "update occupancy.queued_session set resource_group = 'g2' where session_id = '{waiting}'"
        ),
        29 => format!(
            "insert into occupancy.queued_kernel values ('{}', '{ended}')",
            id(rng.random_range(9_000..9_999))
        ),
        _ => format!("insert into occupancy.session_dependency values ('{ended}', '{living}')"),
    }
}
const KINDS: usize = 31;
/// The first kind that changes sessions or kernels, which everything is counted from.
const OF_THE_LEDGER: usize = 14;

/// What the audit finds, and the calls that it names against it, each once.
async fn audit(f: &Fixture) -> (BTreeSet<String>, BTreeSet<String>) {
    let findings = f.audit().await;
    let names = each(&findings, "invariant").into_iter().zip(each(&findings, "subject"));
    let remedies = each(&findings, "remedy").into_iter().map(str::to_owned).collect();
    (names.map(|(invariant, subject)| format!("{invariant} {subject}")).collect(), remedies)
}

/// Mends what is broken by what the audit says, and nothing else; `ledger` is right by itself.
async fn mend(f: &Fixture, done: &str) {
    let mut tables = f.snapshot().await;
    let (found, remedies) = audit(f).await;
    assert_eq!(found, broken(&tables), "{done}");
    for remedy in remedies {
        let before = broken(&tables);
        let corrections = f.rows(&remedy, &[]).await;
        let mended = f.snapshot().await;
        if remedy.contains("recalc_") {
            assert_told(&tables, &mended, &corrections);
        } else {
            // A session that lost its last kernel: nothing is left that could be counted again.
            assert!(remedy.contains("release_session"), "{remedy}");
        }
        // A row under a wrong key is wrong there first, and then missing where it belongs.
        assert!(broken(&mended).len() <= before.len(), "{remedy} broke something after {done}");
        tables = mended;
    }
    assert_eq!(broken(&tables), BTreeSet::new(), "{done}");
    f.assert_sound().await;
}

#[tokio::test]
async fn whatever_is_damaged_at_random_is_named_and_mended() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let f = busy(&mut rng).await;
    let whole = f.snapshot().await;
    let mut broke_something = BTreeSet::new();
    for n in 0..DAMAGES {
        // Every third time several people are at it.
        let at_once = if n % 3 == 2 { rng.random_range(2..=6) } else { 1 };
        f.run("begin").await;
        let mut done = Vec::new();
        for _ in 0..at_once {
            let kind = if at_once == 1 { n } else { rng.random_range(0..KINDS) };
            let statement = damage(kind, &whole, &mut rng);
            f.run("savepoint before").await;
            // Two may want the same id; the second is refused.
            match f.client.batch_execute(&statement).await {
                Ok(()) => done.push(statement),
                Err(_) => f.run("rollback to before").await,
            }
            if at_once == 1 && !broken(&f.snapshot().await).is_empty() {
                broke_something.insert(kind % KINDS);
            }
        }
        let done = done.join(";\n");
        mend(&f, &done).await;
        // Where the ledger was left alone everything is as it was; otherwise it would run dry.
        if at_once == 1 && n % KINDS < OF_THE_LEDGER {
            assert_eq!(f.snapshot().await, whole, "{done}");
            f.run("commit").await;
        } else {
            f.run("rollback").await;
        }
    }
    assert_eq!(broke_something, (0..KINDS).collect(), "kinds that broke something by themselves");

    let runner = Runner::embedded().expect("the embedded sources are sound");
    let differences = runner.verify(&mut f.db.connect().await).await.expect("verified");
    assert_eq!(differences, [], "the schema is as it was");
}
