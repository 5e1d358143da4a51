//! No call of the ledger or the queue compares all of one thing with all of another, whatever the
//! planner believes of the tables: what it believes may be an hour old, from when they were empty.
//!
//! The plans are those that were carried out, nested ones as well: `auto_explain` tells them.

use std::env;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::support::TestDb;
use crate::support::fixture::{Fixture, id};

/// Sessions, keys and agents of a call.
const MANY: u128 = 200;

/// Rows that a step of a plan may look at for as many sessions, or for once through a table that is
/// believed empty; all with all are ten times as many.
const FEW_TIMES_MANY: f64 = 4000.0;

/// Rows that a step may look at for a single session. Of nothing in the database are there so few.
const FEW: f64 = 50.0;

/// A superuser whose plans are kept.
struct Explained {
    client: Client,
    plans: Arc<Mutex<Vec<Value>>>,
}

impl Explained {
    /// Or none, if the server does not have what it takes.
    async fn connect(db: &TestDb) -> Option<Self> {
        let (client, mut connection) =
            tokio_postgres::connect(db.url(), NoTls).await.expect("the test server answers");
        let plans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&plans);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                let AsyncMessage::Notice(notice) = message else { continue };
                if let Some((_, plan)) = notice.message().split_once("plan:\n") {
                    let plan = serde_json::from_str(plan).expect("auto_explain writes JSON");
                    kept.lock().expect("nobody panics with it").push(plan);
                }
            }
        });
        if client.batch_execute("load 'auto_explain'").await.is_err() {
            let required =
                env::var("OCCUPANCY_TEST_REQUIRE_AUTO_EXPLAIN").is_ok_and(|value| value == "1");
            assert!(!required, "this server has no auto_explain, which is required");
            return None;
        }
        client
            .batch_execute(
                "set auto_explain.log_min_duration = 0;
                 set auto_explain.log_nested_statements = on;
                 set auto_explain.log_analyze = on;
                 set auto_explain.log_timing = off;
                 set auto_explain.log_format = json;
                 set client_min_messages = log",
            )
            .await
            .expect("auto_explain has these settings");
        Some(Self { client, plans })
    }

    /// Runs a statement, and returns the steps of its plans that looked at more rows than that.
    async fn excesses(&self, sql: &str, limit: f64) -> Vec<String> {
        self.client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        let plans = std::mem::take(&mut *self.plans.lock().expect("nobody panics with it"));
        assert_ne!(plans, Vec::<Value>::new(), "{sql} has no plan");
        let mut excesses = Vec::new();
        for plan in &plans {
            let query = plan["Query Text"].as_str().expect("a text");
            collect_excesses(&plan["Plan"], query, limit, &mut excesses);
        }
        excesses
    }
}

fn collect_excesses(step: &Value, query: &str, limit: f64, excesses: &mut Vec<String>) {
    let count = |field| step[field].as_f64().unwrap_or(0.0);
    let each = count("Actual Rows")
        + count("Rows Removed by Filter")
        + count("Rows Removed by Join Filter")
        + count("Rows Removed by Index Recheck");
    let rows = each * count("Actual Loops");
    if rows > limit {
        let mut step = step.clone();
        step.as_object_mut().expect("an object").remove("Plans");
        excesses.push(format!("{rows} rows: {step}\n{query}"));
    }
    for inner in step["Plans"].as_array().into_iter().flatten() {
        collect_excesses(inner, query, limit, excesses);
    }
}

/// A batch of reservations: which id, key, kernel id and amount of cpu the nth of them has.
fn batch(nth: impl Fn(u128) -> (u128, String, Option<u128>, u128)) -> String {
    let elements: Value = (0..MANY)
        .map(|n| {
            let (session, key, kernel, cpu) = nth(n);
            let mut kernel_json =
                json!({ "agent": format!("i-{}", 1 + n), "slots": { "cpu": cpu } });
            if let Some(kernel) = kernel {
                kernel_json["kernel_id"] = json!(id(kernel));
            }
            json!({ "session_id": id(session), "access_key": key, "project": "project-1",
                    "kernels": [kernel_json] })
        })
        .collect();
    format!("select * from occupancy.reserve_sessions('{elements}')")
}

/// Sessions that wait beside those of `fill.queue`, which find room: for a time, for another one, for
/// an agent of their own, and for more than there is.
fn enqueue_waiting() -> String {
    let enqueue = |offset: u128, kernels: &str, more: &str| {
        format!(
            "select count(*) from generate_series(1, {MANY}) as n
             cross join lateral occupancy.enqueue_session(
               md5('{offset}' || n)::uuid, 'AK-' || n, {kernels}, {more})"
        )
    };
    let one = r#"'[{"slots": {"cpu": 1}}]'"#;
    [
        enqueue(1, one, "session_type => 'batch', starts_at => now() + interval '1 h'"),
        enqueue(2, one, "dependencies => array[md5('1' || n)::uuid]"),
        enqueue(
            3,
            "jsonb_build_array(jsonb_build_object(
               'agent', 'i-' || n, 'slots', jsonb_build_object('cpu', 2000000000 + n)))",
            "project => 'project-2'",
        ),
        enqueue(
            4,
            r#"'[{"slots": {"cpu": 1}}, {"slots": {"cpu": 5000000000}}]'"#,
            "cluster_mode => 'multi-node'",
        ),
    ]
    .join(";")
}

/// Reservations that live on, several times as many as in a call.
fn others() -> Vec<String> {
    (100..109)
        .map(|times| batch(|n| (times * MANY + n, format!("AK-{}", 1 + n), None, 1)))
        .collect()
}

/// What managers call with many sessions at once, each way through it. In the end there are many that
/// live, wait, and have ended.
fn calls_for_many() -> Vec<String> {
    let key = |n: u128| format!("AK-{}", 1 + n);
    let ids = |first: u128, last: u128| {
        let ids: Vec<String> = (first..last).map(|n| id(n).to_string()).collect();
        format!("'{{{}}}'", ids.join(","))
    };
    let tick = |options: &str| {
        format!("select * from occupancy.schedule_sessions('default', 10000{options})")
    };
    let admitted = batch(|n| (n, key(n), Some(1000 + n), 1));
    vec![
        admitted.clone(),
        // The same again, and ids that are taken by something else.
        admitted,
        batch(|n| (n, key(MANY - 1 - n), None, 1)),
        // Repeated, unknown, full, too large, and with the kernels of others.
        batch(|n| (2000 + n / 2, key(n), None, 1)),
        batch(|n| {
            (3000 + n, if n % 2 == 0 { "AK-full".into() } else { "AK-none".into() }, None, 1)
        }),
        batch(|n| (4000 + n, key(n), None, 1 + n % 2 * 2_000_000_000)),
        batch(|n| (5000 + n, key(n), Some(1000 + n / 2 * 1000), 1)),
        format!("select * from occupancy.release_sessions({})", ids(0, 2 * MANY)),
        format!("select * from occupancy.release_sessions({})", ids(2000, 2000 + MANY)),
        format!("select fill.queue({MANY}, {MANY}, 10, 1)"),
        enqueue_waiting(),
        tick(""),
        tick(""),
        tick(", 'drf', 'concentrated'"),
    ]
}

/// What a user calls for one session, where many wait.
fn calls_for_one() -> Vec<String> {
    let [first, second] = [id(9_000_001), id(9_000_002)];
    let kernels = r#"'[{"slots": {"cpu": 1}}]'"#;
    vec![
        format!("select occupancy.enqueue_session('{first}', 'AK-5', {kernels})"),
        format!(
            "select occupancy.enqueue_session(
               '{second}', 'AK-5', {kernels}, dependencies => array['{first}'::uuid])"
        ),
        format!("select occupancy.cancel_session('{second}')"),
        format!("select occupancy.cancel_session('{first}')"),
    ]
}

async fn no_call_compares_all_with_all(belief: &str) {
    let mut fixture = Fixture::new().await;
    for sql in
        [include_str!("../benches/fill/registry.sql"), include_str!("../benches/fill/queue.sql")]
    {
        fixture.run(&format!("create schema if not exists fill; {sql}")).await;
    }
    // What is believed is not to change on the way.
    fixture
        .run(
            "do $$
             declare
               name text;
             begin
               for name in
                 select oid::regclass from pg_class
                 where relnamespace = 'occupancy'::regnamespace and relkind = 'r'
               loop
                 execute format('alter table %s set (autovacuum_enabled = false)', name);
               end loop;
             end $$",
        )
        .await;
    fixture.run(&format!("select fill.registry({MANY}, {MANY}, true)")).await;
    for reservations in others() {
        fixture.run(&reservations).await;
    }
    fixture.run(belief).await;
    // Its plans are made from now on.
    fixture.client = fixture.db.connect().await;
    let Some(explained) = Explained::connect(&fixture.db).await else {
        eprintln!("not proved here: this server has no auto_explain");
        return;
    };

    let all_with_all = format!(
        "select from generate_series(1, {MANY}) as a, generate_series(1, {MANY}) as b where a > b"
    );
    let seen = explained.excesses(&all_with_all, FEW_TIMES_MANY).await;
    assert_ne!(seen, Vec::<String>::new(), "it looks at nothing");
    let mut excesses = Vec::new();
    for call in calls_for_many() {
        excesses.extend(explained.excesses(&call, FEW_TIMES_MANY).await);
    }
    let placed = "select array_agg(session_id)::text as ids from occupancy.session
                  where status = 'RUNNING' and stage = 'SCHEDULED'";
    let placed = &fixture.row(placed, &[]).await["ids"];
    let placed = placed.as_str().expect("the queue had room for some");
    for call in [
        format!("select * from occupancy.release_sessions('{placed}')"),
        "select occupancy.expire_pending('1 h')".into(),
        "select occupancy.prune_ended('0')".into(),
    ] {
        excesses.extend(explained.excesses(&call, FEW_TIMES_MANY).await);
    }
    // What does not come and go is known sooner or later.
    fixture
        .run("analyze occupancy.keypair, occupancy.resource_policy, occupancy.agent, occupancy.quota")
        .await;
    for call in calls_for_one() {
        excesses.extend(explained.excesses(&call, FEW).await);
    }
    let expire = "select occupancy.expire_pending('0')";
    excesses.extend(explained.excesses(expire, FEW_TIMES_MANY).await);
    assert!(excesses.is_empty(), "{}", excesses.join("\n\n"));
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_compares_all_with_all_where_tables_were_never_analysed() {
    no_call_compares_all_with_all("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_compares_all_with_all_where_tables_are_believed_empty() {
    // As if they had been vacuumed then.
    no_call_compares_all_with_all(
        "update pg_class set reltuples = 0, relpages = 1
         where relnamespace = 'occupancy'::regnamespace and relkind in ('r', 'i')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_compares_all_with_all_where_tables_are_known() {
    no_call_compares_all_with_all("analyze").await;
}
