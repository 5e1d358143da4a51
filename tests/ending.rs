//! Endings: every way to end frees each thing exactly once.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fixture::{Fixture, each, id, request, with};

const QUOTAS: [(&str, &str); 4] =
    [("user", "u1"), ("project", "x"), ("resource_group", "g1"), ("domain", "d1")];

/// The fixture with a quota in every scope and larger agents.
async fn charged() -> Fixture {
    let f = Fixture::new().await;
    for agent in ["i-01", "i-02", "i-03"] {
        f.outcome(&format!("put_agent('{agent}', '{{\"cpu\": 20}}')")).await;
    }
    for (scope, scope_id) in QUOTAS {
        f.outcome(&format!("put_quota('{scope}', '{scope_id}', 9)")).await;
    }
    f
}

/// A session of `AK` in project x whose kernels 101, 102, … ask for 1, 2, … cpu on i-01, i-02, ….
fn session(n: u128, kernels: u128) -> Value {
    let agents = ["i-01", "i-02", "i-03"].into_iter().cycle();
    let kernel = |(k, agent): (u128, &str)| json!({"kernel_id": id(100 * n + k), "agent": agent, "slots": {"cpu": k.to_string()}});
    let kernels: Value = (1..=kernels).zip(agents).map(kernel).collect();
    with(request(n, "AK", &[]), json!({"project": "x", "kernels": kernels}))
}

async fn admit(f: &Fixture, request: &Value) {
    let answer = f.reserve(request).await;
    assert_eq!(answer["outcome"], "admitted", "{answer}");
}

/// Fails unless the key and all quotas are charged with so many sessions and so much cpu.
async fn assert_charged(f: &Fixture, sessions: i64, cpu: &str) {
    let slots = if cpu == "0" { json!({}) } else { json!({"cpu": cpu}) };
    assert_eq!(f.key("AK").await, (sessions, 0, slots.clone()));
    for (scope, scope_id) in QUOTAS {
        assert_eq!(f.quota(scope, scope_id).await, (sessions, slots.clone()), "{scope}");
    }
    f.assert_sound().await;
}

/// Fails unless the agents have so much cpu occupied.
async fn assert_occupied(f: &Fixture, cpus: [&str; 3]) {
    for (agent, cpu) in ["i-01", "i-02", "i-03"].into_iter().zip(cpus) {
        let slots = if cpu == "0" { json!({}) } else { json!({"cpu": cpu}) };
        assert_eq!(f.occupied(agent).await, slots, "{agent}");
    }
}

async fn release(f: &Fixture, n: u128) -> String {
    f.outcome(&format!("release_session('{}')", id(n))).await
}

async fn terminate(f: &Fixture, n: u128) -> String {
    f.outcome(&format!("terminate_session('{}')", id(n))).await
}

/// Outcome of `release_kernel`, and whether the session ended.
async fn release_kernel(f: &Fixture, kernel: u128) -> (String, bool) {
    let row = f.row("select * from occupancy.release_kernel($1)", &[&id(kernel)]).await;
    let session = if row["outcome"] == "unknown" { Value::Null } else { json!(id(kernel / 100)) };
    assert_eq!((&row["kernel_id"], &row["session_id"]), (&json!(id(kernel)), &session));
    let outcome = row["outcome"].as_str().expect("an outcome").to_owned();
    (outcome, row["session_ended"].as_bool().expect("a boolean"))
}

async fn settle(f: &Fixture, kernel: u128, slots: Value) -> String {
    let row = f.row("select * from occupancy.settle_kernel($1, $2)", &[&id(kernel), &slots]).await;
    assert_eq!(
        (&row["kernel_id"], &row["session_id"]),
        (&json!(id(kernel)), &json!(id(kernel / 100)))
    );
    row["outcome"].as_str().expect("an outcome").to_owned()
}

/// Moves the schema's clock by an interval.
async fn move_clock(f: &Fixture, by: &str) {
    f.run(&format!(
        "create or replace function occupancy.clock() returns timestamptz
         language sql volatile parallel safe return clock_timestamp() + interval '{by}'"
    ))
    .await;
}

#[tokio::test]
async fn a_release_frees_slot_quotas_and_agents_once() {
    let f = charged().await;
    admit(&f, &session(1, 3)).await;
    admit(&f, &session(2, 2)).await;
    assert_charged(&f, 2, "9").await;
    assert_eq!(release(&f, 1).await, "released");
    assert_charged(&f, 1, "3").await;
    assert_occupied(&f, ["1", "2", "0"]).await;
    assert_eq!(f.unchanged(release(&f, 1)).await, "already_released");
    assert_eq!(release(&f, 2).await, "released");
    assert_charged(&f, 0, "0").await;
    assert_occupied(&f, ["0"; 3]).await;
}

#[tokio::test]
async fn a_release_before_its_reservation_wins() {
    let f = charged().await;
    assert_eq!(release(&f, 1).await, "unknown");
    f.unchanged(async {
        assert_eq!(release(&f, 1).await, "already_released");
        assert_eq!(terminate(&f, 1).await, "already_released");
        assert_eq!(f.reserve(&session(1, 1)).await["code"], "session_ended");
    })
    .await;
    assert_charged(&f, 0, "0").await;
}

#[tokio::test]
async fn terminating_an_unknown_session_is_not_remembered() {
    let f = charged().await;
    f.unchanged(async { assert_eq!(terminate(&f, 1).await, "unknown") }).await;
    assert_eq!(f.reserve(&session(1, 1)).await["outcome"], "admitted");
}

#[tokio::test]
async fn release_sessions_answers_each_element_in_its_order() {
    let f = charged().await;
    for n in [1, 2, 3, 4, 5] {
        admit(&f, &session(n, 2)).await;
    }
    release(&f, 5).await;
    terminate(&f, 4).await;
    let ids = [9, 3, 5, 1, 3, 9, 4, 1].map(id);
    let call = "select * from occupancy.release_sessions($1)";
    let answers = f.rows(call, &[&&ids[..]]).await;
    let answered: Vec<Value> = answers.iter().map(|row| row["session_id"].clone()).collect();
    assert_eq!(answered, ids.map(|id| json!(id)));
    let outcomes = [
        "unknown",
        "released",
        "already_released",
        "released",
        "already_released",
        "already_released",
        "released",
        "already_released",
    ];
    assert_eq!(each(&answers, "outcome"), outcomes);
    assert_charged(&f, 1, "3").await;
    let again = f.unchanged(f.rows(call, &[&&ids[..]])).await;
    assert!(again.iter().all(|row| row["outcome"] == "already_released"));
    assert_eq!(f.reserve(&session(9, 1)).await["code"], "session_ended");
    assert_eq!(f.rows(call, &[&Vec::<Uuid>::new()]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_batch_releases_sessions_of_many_keys_and_kinds() {
    let f = charged().await;
    f.outcome("put_quota('user', 'u2', 9)").await;
    admit(&f, &session(1, 4)).await;
    admit(&f, &with(session(2, 2), json!({"access_key": "BK", "project": null}))).await;
    admit(&f, &with(session(3, 2), json!({"session_type": "system"}))).await;
    admit(&f, &with(session(4, 3), json!({"access_key": "AK2"}))).await;
    release_kernel(&f, 101).await;
    settle(&f, 402, json!({"cpu": 5, "mem": 1})).await;
    terminate(&f, 4).await;
    let ids = [1, 2, 3, 4].map(id);
    let answers = f.rows("select * from occupancy.release_sessions($1)", &[&&ids[..]]).await;
    assert!(answers.iter().all(|row| row["outcome"] == "released"));
    assert_eq!(f.quota("user", "u2").await, (0, json!({})));
    for key in ["AK", "AK2", "BK"] {
        assert_eq!(f.key(key).await, (0, 0, json!({})), "{key}");
    }
    assert_charged(&f, 0, "0").await;
    assert_occupied(&f, ["0"; 3]).await;
}

#[tokio::test]
async fn kernels_free_their_share_one_by_one_and_the_last_ends_the_session() {
    let f = charged().await;
    // On i-01, i-02, i-03 and i-01 again.
    admit(&f, &session(1, 4)).await;
    assert_occupied(&f, ["5", "2", "3"]).await;
    let steps = [
        (102, ["5", "0", "3"], 1, "8", false),
        (104, ["1", "0", "3"], 1, "4", false),
        (101, ["0", "0", "3"], 1, "3", false),
        (103, ["0", "0", "0"], 0, "0", true),
    ];
    for (kernel, occupied, sessions, cpu, ended) in steps {
        assert_eq!(release_kernel(&f, kernel).await, ("released".to_owned(), ended), "{kernel}");
        assert_occupied(&f, occupied).await;
        assert_charged(&f, sessions, cpu).await;
        let again = f.unchanged(release_kernel(&f, kernel)).await;
        assert_eq!(again, ("already_released".to_owned(), ended), "{kernel}");
    }
    f.unchanged(async {
        assert_eq!(release(&f, 1).await, "already_released");
        assert_eq!(terminate(&f, 1).await, "already_released");
        assert_eq!(release_kernel(&f, 999).await, ("unknown".to_owned(), false));
    })
    .await;
}

#[tokio::test]
async fn a_release_after_some_kernels_ended_frees_the_rest() {
    let f = charged().await;
    admit(&f, &session(1, 3)).await;
    release_kernel(&f, 102).await;
    assert_eq!(release(&f, 1).await, "released");
    assert_charged(&f, 0, "0").await;
    assert_occupied(&f, ["0"; 3]).await;
}

#[tokio::test]
async fn a_terminating_session_holds_its_agents_alone() {
    let f = charged().await;
    f.outcome("put_resource_policy('open', 1)").await;
    admit(&f, &session(1, 3)).await;
    assert_eq!(terminate(&f, 1).await, "terminating");
    assert_charged(&f, 0, "0").await;
    assert_occupied(&f, ["1", "2", "3"]).await;
    assert_eq!(f.unchanged(terminate(&f, 1)).await, "already_terminating");
    // Its slot is free for another one.
    assert_eq!(f.reserve(&session(2, 1)).await["outcome"], "admitted");
    assert_charged(&f, 1, "1").await;
    assert_eq!(release_kernel(&f, 103).await, ("released".to_owned(), false));
    assert_occupied(&f, ["2", "2", "0"]).await;
    assert_eq!(settle(&f, 102, json!({"cpu": 7})).await, "settled");
    assert_occupied(&f, ["2", "7", "0"]).await;
    assert_charged(&f, 1, "1").await;
    assert_eq!(release_kernel(&f, 101).await, ("released".to_owned(), false));
    assert_eq!(release_kernel(&f, 102).await, ("released".to_owned(), true));
    assert_occupied(&f, ["1", "0", "0"]).await;
    assert_charged(&f, 1, "1").await;
    assert_eq!(release(&f, 1).await, "already_released");
}

#[tokio::test]
async fn a_system_session_ends_in_every_way() {
    let f = charged().await;
    let system = |n| with(session(n, 2), json!({"session_type": "system"}));
    for n in 1..=4 {
        admit(&f, &system(n)).await;
    }
    assert_eq!(f.key("AK").await, (0, 4, json!({})));
    settle(&f, 101, json!({"cpu": 3})).await;
    terminate(&f, 1).await;
    assert_eq!(f.key("AK").await, (0, 3, json!({})));
    f.assert_sound().await;
    for (kernel, system_sessions) in [(201, 3), (202, 2), (101, 2), (102, 2)] {
        release_kernel(&f, kernel).await;
        assert_eq!(f.key("AK").await, (0, system_sessions, json!({})), "{kernel}");
        f.assert_sound().await;
    }
    release(&f, 3).await;
    f.run("select occupancy.clear_concurrency('AK')").await;
    assert_charged(&f, 0, "0").await;
    assert_occupied(&f, ["0"; 3]).await;
}

#[tokio::test]
async fn settling_replaces_what_was_requested_even_beyond_limits() {
    let f = charged().await;
    f.outcome("put_resource_policy('open', 1, total_resource_slots => '{\"cpu\": 3}')").await;
    f.outcome("put_quota('user', 'u1', 1, '{\"cpu\": 3}', 'LIMITED')").await;
    admit(&f, &session(1, 2)).await;
    for (slots, cpu) in
        [(json!({"cpu": "0.25"}), "1.25"), (json!({"cpu": "9.5"}), "10.5"), (json!({}), "1")]
    {
        assert_eq!(settle(&f, 102, slots.clone()).await, "settled");
        assert_eq!(f.occupied("i-02").await, slots);
        assert_charged(&f, 1, cpu).await;
        assert_eq!(f.unchanged(settle(&f, 102, slots)).await, "settled");
    }
    settle(&f, 101, json!({"mem": "2k"})).await;
    assert_eq!(f.key("AK").await, (1, 0, json!({"mem": "2048"})));
    f.assert_sound().await;
    release_kernel(&f, 101).await;
    f.unchanged(async {
        assert_eq!(settle(&f, 101, json!({"cpu": 1})).await, "already_released");
    })
    .await;
    release(&f, 1).await;
    f.unchanged(async {
        assert_eq!(settle(&f, 102, json!({"cpu": 1})).await, "already_released");
        let unknown = "select occupancy.settle_kernel($1, '{}')";
        assert_eq!(f.refused(unknown, &[&id(999)]).await, "OC004");
    })
    .await;
    assert_charged(&f, 0, "0").await;
}

#[tokio::test]
async fn clear_concurrency_ends_every_session_of_the_key() {
    let f = charged().await;
    for n in 1..=3 {
        admit(&f, &session(n, 3)).await;
    }
    admit(&f, &with(session(4, 1), json!({"session_type": "system"}))).await;
    admit(&f, &with(session(5, 1), json!({"access_key": "AK2"}))).await;
    terminate(&f, 2).await;
    release(&f, 3).await;
    let clear = "select occupancy.clear_concurrency($1) as ended";
    assert_eq!(f.row(clear, &[&"AK"]).await["ended"], 3);
    assert_eq!(f.key("AK").await, (0, 0, json!({})));
    assert_eq!(f.key("AK2").await, (1, 0, json!({"cpu": "1"})));
    assert_occupied(&f, ["1", "0", "0"]).await;
    f.assert_sound().await;
    assert_eq!(f.unchanged(f.row(clear, &[&"AK"])).await["ended"], 0);
    assert_eq!(f.refused(clear, &[&"nobody"]).await, "OC002");
}

#[tokio::test]
async fn prune_ended_forgets_only_what_ended_long_enough_ago() {
    let f = charged().await;
    admit(&f, &session(1, 2)).await;
    admit(&f, &session(2, 2)).await;
    admit(&f, &session(3, 2)).await;
    release(&f, 1).await;
    terminate(&f, 2).await;
    release(&f, 9).await;
    let prune = "select occupancy.prune_ended('24 h') as pruned";
    assert_eq!(f.unchanged(f.row(prune, &[])).await["pruned"], 0);
    move_clock(&f, "23 h 59 min").await;
    release(&f, 8).await;
    assert_eq!(f.unchanged(f.row(prune, &[])).await["pruned"], 0);
    move_clock(&f, "24 h").await;
    assert_eq!(f.row(prune, &[]).await["pruned"], 2);
    let known = f.rows("select session_id from occupancy.session order by 1", &[]).await;
    assert_eq!(each(&known, "session_id"), [2, 3, 8].map(|n| id(n).to_string()));
    let kernels = f.row("select count(*) from occupancy.kernel", &[]).await;
    assert_eq!(kernels["count"], 4);
    f.assert_sound().await;
    // Forgotten, so that the id is a new one.
    assert_eq!(f.reserve(&session(1, 1)).await["outcome"], "admitted");
}

#[tokio::test]
async fn prune_ended_forgets_at_most_ten_thousand_a_call_the_oldest_first() {
    let f = Fixture::new().await;
    let release = "select occupancy.release_sessions(array(
                     select ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid
                     from generate_series($1::int, $2) as n))";
    for (first, last) in [(1, 10_000), (10_001, 10_500)] {
        f.client.query(release, &[&first, &last]).await.expect("released");
    }
    let prune = "select occupancy.prune_ended('0') as pruned";
    assert_eq!(f.row(prune, &[]).await["pruned"], 10_000);
    let oldest = f.row("select min(session_id::text) as id from occupancy.session", &[]).await;
    assert_eq!(oldest["id"], json!(id(10_001)));
    assert_eq!(f.row(prune, &[]).await["pruned"], 500);
    assert_eq!(f.row(prune, &[]).await["pruned"], 0);
}

#[tokio::test]
async fn a_mistake_in_an_ending_is_refused_and_changes_nothing() {
    let f = charged().await;
    admit(&f, &session(1, 1)).await;
    let long = "x".repeat(257);
    let mistakes = [
        "release_session(null)",
        "terminate_session(null)",
        "release_kernel(null)",
        "settle_kernel(null, '{}')",
        "release_sessions(null)",
        "release_sessions(array[null]::uuid[])",
        "release_sessions(array['00000000-0000-0000-0000-000000000001', null]::uuid[])",
        "release_sessions(array_fill(gen_random_uuid(), array[10001]))",
        "clear_concurrency(null)",
        "clear_concurrency('')",
        &format!("clear_concurrency('{long}')"),
        "prune_ended(null)",
        "prune_ended('-1 s')",
    ];
    f.unchanged(async {
        for call in mistakes {
            assert_eq!(
                f.refused(&format!("select occupancy.{call}"), &[]).await,
                "OC005",
                "{call}"
            );
        }
    })
    .await;
}
