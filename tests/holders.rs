//! Holders: managers that answer for a session until it is confirmed, and agents that fall silent.

use serde_json::{Value, json};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::support::fixture::{Fixture, each, id, request, with};

const CONFIRM: &str = "select * from occupancy.confirm_session($1, $2, $3)";

/// Sets the schema's clock so long after `since`, an expression.
async fn at(f: &Fixture, since: &str, later: &str) {
    let moment = f.row(&format!("select ({since}) + interval '{later}' as at"), &[]).await;
    let moment = moment["at"].as_str().expect("a time").to_owned();
    f.run(&format!(
        "create or replace function occupancy.clock() returns timestamptz
         language sql volatile parallel safe return timestamptz '{moment}'"
    ))
    .await;
}

/// When an epoch last beat.
fn beat(epoch: i64) -> String {
    format!("select beat_at from occupancy.managers where epoch = {epoch}")
}

/// Registers a manager with a ttl of 10 s and a grace period of 5 s.
async fn register(f: &Fixture, manager: &str) -> i64 {
    let sql = "select * from occupancy.register_manager($1, '10 s', '5 s')";
    let row = f.row(sql, &[&manager]).await;
    assert_eq!(row["manager"], manager);
    row["epoch"].as_i64().expect("a number")
}

/// One session of `AK`, with a kernel of its own id, on `i-01`.
fn session(n: u128) -> Value {
    let kernels = json!([{"kernel_id": id(n * 100), "agent": "i-01", "slots": {"cpu": 1}}]);
    with(request(n, "AK", &[]), json!({ "kernels": kernels }))
}

const RESERVE: &str = "select outcome from occupancy.reserve_session(
    ($1::jsonb ->> 'session_id')::uuid, $1::jsonb ->> 'access_key', $1::jsonb -> 'kernels',
    manager => $2, epoch => $3)";

async fn reserve(f: &Fixture, n: u128, manager: &str, epoch: i64) -> String {
    let row = f.row(RESERVE, &[&session(n), &manager, &epoch]).await;
    row["outcome"].as_str().expect("an outcome").to_owned()
}

async fn confirm(f: &Fixture, n: u128, manager: &str, epoch: i64) -> String {
    let row = f.row(CONFIRM, &[&id(n), &manager, &epoch]).await;
    assert_eq!(row["session_id"], json!(id(n)));
    row["outcome"].as_str().expect("an outcome").to_owned()
}

async fn confirm_refused(f: &Fixture, n: u128, manager: &str, epoch: i64) -> String {
    f.refused(CONFIRM, &[&id(n), &manager, &epoch]).await
}

async fn heartbeat(f: &Fixture, manager: &str, epoch: i64) -> String {
    f.outcome(&format!("heartbeat_manager('{manager}', {epoch})")).await
}

/// The state of a session's lease; none once it is confirmed or ended.
async fn lease(f: &Fixture, n: u128) -> Option<String> {
    let rows = f.rows("select state from occupancy.leases where session_id = $1", &[&id(n)]).await;
    rows.first().map(|row| row["state"].as_str().expect("a state").to_owned())
}

async fn status(f: &Fixture, epoch: i64) -> String {
    let sql = "select status from occupancy.managers where epoch = $1";
    f.row(sql, &[&epoch]).await["status"].as_str().expect("a status").to_owned()
}

/// Reclaims, and returns whose sessions were freed, in order of their ids.
async fn reclaim(f: &Fixture) -> Vec<i64> {
    let rows = f.rows("select * from occupancy.reclaim_expired(100)", &[]).await;
    rows.iter().map(|row| row["epoch"].as_i64().expect("an epoch")).collect()
}

async fn used(f: &Fixture) -> i64 {
    let row = f.row("select compute_used from occupancy.get_concurrency('AK')", &[]).await;
    row["compute_used"].as_i64().expect("a number")
}

async fn assert_sound(f: &Fixture) {
    assert_eq!(f.rows("select * from occupancy.audit()", &[]).await, [] as [Value; 0]);
}

fn detail(error: &Error) -> &str {
    error.as_db_error().and_then(|error| error.detail()).unwrap_or_default()
}

#[tokio::test]
async fn each_start_of_a_manager_has_a_higher_epoch_and_fences_the_one_before() {
    let f = Fixture::new().await;
    let first = register(&f, "m1").await;
    let other = register(&f, "m2").await;
    let second = register(&f, "m1").await;
    assert!(first < second, "{first} {second}");
    assert_eq!(status(&f, first).await, "FENCED");
    assert_eq!(status(&f, second).await, "ALIVE");
    assert_eq!(heartbeat(&f, "m1", second).await, "alive");
    assert_eq!(heartbeat(&f, "m2", other).await, "alive", "another name is another manager");
    let sql = format!("select * from occupancy.heartbeat_manager('m1', {first})");
    assert_eq!(f.refused(&sql, &[]).await, "OC009");
    let sql = format!("select * from occupancy.heartbeat_manager('m2', {second})");
    assert_eq!(f.refused(&sql, &[]).await, "OC009", "an epoch of another manager");
}

#[tokio::test]
async fn an_epoch_is_higher_even_after_all_earlier_ones_are_forgotten() {
    let f = Fixture::new().await;
    let first = register(&f, "m1").await;
    at(&f, &beat(first), "1 day").await;
    assert_eq!(f.row("select occupancy.prune_managers('1 h') as n", &[]).await["n"], 1);
    assert!(register(&f, "m1").await > first);
}

#[tokio::test]
async fn arguments_of_holders_have_bounds() {
    let f = Fixture::new().await;
    for call in [
        "register_manager(null, '10 s')",
        "register_manager('', '10 s')",
        "register_manager(repeat('m', 257), '10 s')",
        "register_manager('m', null)",
        "register_manager('m', '999 ms')",
        "register_manager('m', '-10 s')",
        "register_manager('m', '1 mon -29 days -23 h -59 min -59.5 s')",
        "register_manager('m', '1 day 1 s')",
        "register_manager('m', '178000000 years')",
        "register_manager('m', '10 s', '-1 s')",
        "register_manager('m', '10 s', '25 h')",
        "heartbeat_manager('m', null)",
        "heartbeat_manager(null, 1)",
        "confirm_session(null, 'm', 1)",
        "confirm_session(gen_random_uuid(), null, 1)",
        "confirm_session(gen_random_uuid(), 'm', null)",
        "release_session(gen_random_uuid(), manager => 'm')",
        "release_session(gen_random_uuid(), epoch => 1)",
        "release_sessions('{}', epoch => 1)",
        "release_kernel(gen_random_uuid(), manager => 'm')",
        "terminate_session(gen_random_uuid(), epoch => 1)",
        "settle_kernel(gen_random_uuid(), '{}', manager => 'm')",
        "reserve_session(gen_random_uuid(), 'AK', '[{\"agent\": \"i-01\", \"slots\": {}}]', epoch => 1)",
        "reclaim_expired(0)",
        "reclaim_expired(10001)",
        "reclaim_expired(null)",
        "prune_managers(null)",
        "prune_managers('-1 s')",
        "sweep_agents(null)",
        "sweep_agents('0')",
        "evacuate_agent('')",
    ] {
        let sql = format!("select * from occupancy.{call}");
        assert_eq!(f.unchanged(f.refused(&sql, &[])).await, "OC005", "{call}");
    }
    let grace = f.row("select * from occupancy.register_manager('m', '1 s')", &[]).await;
    let sql = "select (ttl = grace)::text as equal from occupancy.managers where epoch = $1";
    let epoch = grace["epoch"].as_i64().expect("a number");
    assert_eq!(f.row(sql, &[&epoch]).await["equal"], "true", "grace is as long as ttl");
}

#[tokio::test]
async fn a_session_belongs_to_its_manager_until_it_is_confirmed() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    assert_eq!(reserve(&f, 1, "m1", m1).await, "admitted");
    assert_eq!(lease(&f, 1).await.as_deref(), Some("held"));
    assert_eq!(confirm(&f, 1, "m1", m1).await, "confirmed");
    assert_eq!(lease(&f, 1).await, None);
    assert_eq!(f.unchanged(confirm(&f, 1, "m1", m1)).await, "already_confirmed");
    at(&f, &beat(m1), "1 year").await;
    assert_eq!(reclaim(&f).await, [] as [i64; 0], "its manager's life no longer matters");
    assert_eq!(used(&f).await, 1);
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_reservation_without_a_manager_has_no_lease() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    assert_eq!(f.reserve(&session(1)).await["outcome"], "admitted");
    assert_eq!(lease(&f, 1).await, None);
    assert_eq!(f.unchanged(confirm(&f, 1, "m1", m1)).await, "already_confirmed");
    assert_eq!(reserve(&f, 1, "m1", m1).await, "already_admitted");
    assert_eq!(lease(&f, 1).await, None, "a repetition does not make it anybody's");
    at(&f, &beat(m1), "1 year").await;
    assert_eq!(reclaim(&f).await, [] as [i64; 0]);
}

#[tokio::test]
async fn what_a_silent_manager_holds_is_suspect_after_ttl_and_freed_after_grace_once() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    let m2 = register(&f, "m2").await;
    reserve(&f, 1, "m1", m1).await;
    reserve(&f, 2, "m1", m1).await;
    reserve(&f, 3, "m2", m2).await;
    reserve(&f, 4, "m1", m1).await;
    confirm(&f, 4, "m1", m1).await;
    let last = f.row(&beat(m1), &[]).await["beat_at"].as_str().expect("a time").to_owned();
    let last = format!("timestamptz '{last}'");
    for (later, state, manager) in [
        ("10 s -1 us", "held", "ALIVE"),
        ("10 s", "suspect", "SUSPECT"),
        ("15 s -1 us", "suspect", "SUSPECT"),
    ] {
        at(&f, &last, later).await;
        heartbeat(&f, "m2", m2).await;
        assert_eq!(lease(&f, 1).await.as_deref(), Some(state), "{later}");
        assert_eq!(status(&f, m1).await, manager, "{later}");
        assert_eq!(f.unchanged(reclaim(&f)).await, [] as [i64; 0], "{later}");
    }
    at(&f, &last, "15 s").await;
    assert_eq!(lease(&f, 1).await.as_deref(), Some("expired"));
    assert_eq!(status(&f, m1).await, "EXPIRED");
    let freed = f.rows("select * from occupancy.reclaim_expired()", &[]).await;
    let freed: Vec<_> = freed.iter().map(|row| row["session_id"].clone()).collect();
    assert_eq!(freed, [json!(id(1)), json!(id(2))]);
    assert_eq!(used(&f).await, 2, "what the living hold, and what is confirmed, stays");
    assert_eq!(f.unchanged(reclaim(&f)).await, [] as [i64; 0]);
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_manager_that_is_back_in_time_holds_its_sessions_again() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    reserve(&f, 1, "m1", m1).await;
    at(&f, &beat(m1), "15 s -1 us").await;
    assert_eq!(lease(&f, 1).await.as_deref(), Some("suspect"));
    assert_eq!(heartbeat(&f, "m1", m1).await, "recovered");
    assert_eq!(heartbeat(&f, "m1", m1).await, "alive");
    assert_eq!(lease(&f, 1).await.as_deref(), Some("held"));
    at(&f, &beat(m1), "9 s").await;
    assert_eq!(reclaim(&f).await, [] as [i64; 0]);
    // Even after its grace period, as long as nobody has reclaimed.
    at(&f, &beat(m1), "1 h").await;
    assert_eq!(heartbeat(&f, "m1", m1).await, "recovered");
    assert_eq!(reclaim(&f).await, [] as [i64; 0]);
    assert_eq!(confirm(&f, 1, "m1", m1).await, "confirmed");
}

#[tokio::test]
async fn a_confirmation_alone_saves_a_session_that_is_suspect() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    reserve(&f, 1, "m1", m1).await;
    at(&f, &beat(m1), "1 h").await;
    assert_eq!(confirm(&f, 1, "m1", m1).await, "confirmed");
    assert_eq!(reclaim(&f).await, [] as [i64; 0]);
}

#[tokio::test]
async fn a_reclaimed_session_has_ended_and_its_holder_is_told() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    reserve(&f, 1, "m1", m1).await;
    at(&f, &beat(m1), "15 s").await;
    assert_eq!(reclaim(&f).await, [m1]);
    assert_eq!(heartbeat(&f, "m1", m1).await, "recovered");
    assert_eq!(f.unchanged(confirm_refused(&f, 1, "m1", m1)).await, "OC009");
    let error = f.client.query(CONFIRM, &[&id(1), &"m1", &m1]).await.expect_err("reclaimed");
    assert!(detail(&error).contains("reclaimed at"), "{}", detail(&error));
    let release = format!("release_session('{}', 'm1', {m1})", id(1));
    assert_eq!(f.unchanged(f.outcome(&release)).await, "already_released");
    assert_eq!(reserve(&f, 1, "m1", m1).await, "rejected", "the id is remembered");
}

#[tokio::test]
async fn a_fenced_holder_changes_nothing_and_is_told_who_is_in_its_place() {
    let f = Fixture::new().await;
    let old = register(&f, "m1").await;
    reserve(&f, 1, "m1", old).await;
    let new = register(&f, "m1").await;
    assert_eq!(lease(&f, 1).await.as_deref(), Some("suspect"), "at once");
    let (session_id, kernel) = (id(1), id(100));
    for call in [
        format!("heartbeat_manager('m1', {old})"),
        format!("confirm_session('{session_id}', 'm1', {old})"),
        format!("release_session('{session_id}', 'm1', {old})"),
        format!("release_sessions('{{{session_id}}}', 'm1', {old})"),
        format!("release_kernel('{kernel}', 'm1', {old})"),
        format!("terminate_session('{session_id}', 'm1', {old})"),
        format!("settle_kernel('{kernel}', '{{}}', 'm1', {old})"),
        format!(
            "reserve_session('{}', 'AK', '[{{\"agent\": \"i-01\", \"slots\": {{}}}}]',
                             manager => 'm1', epoch => {old})",
            id(2)
        ),
    ] {
        let sql = format!("select * from occupancy.{call}");
        assert_eq!(f.unchanged(f.refused(&sql, &[])).await, "OC009", "{call}");
        let error = f.client.query(&sql, &[]).await.expect_err("fenced");
        assert!(detail(&error).contains(&format!("fenced by epoch {new}")), "{}", detail(&error));
    }
    let error = f.client.query(CONFIRM, &[&id(1), &"m1", &old]).await.expect_err("fenced");
    let holder = format!("session {session_id}: held by manager m1, epoch {old}");
    assert!(detail(&error).ends_with(&holder), "{}", detail(&error));
    let kernel_release = format!("select * from occupancy.release_kernel('{kernel}', 'm1', {old})");
    let error = f.client.query(&kernel_release, &[]).await.expect_err("fenced");
    assert!(detail(&error).ends_with(&holder), "{}", detail(&error));
}

#[tokio::test]
async fn what_a_fenced_epoch_left_is_freed_by_its_own_last_beat_however_often_it_restarts() {
    let f = Fixture::new().await;
    let first = register(&f, "m1").await;
    reserve(&f, 1, "m1", first).await;
    let last = f.row(&beat(first), &[]).await["beat_at"].as_str().expect("a time").to_owned();
    let last = format!("timestamptz '{last}'");
    for later in ["4 s", "8 s", "12 s", "15 s -1 us"] {
        at(&f, &last, later).await;
        register(&f, "m1").await;
        assert_eq!(lease(&f, 1).await.as_deref(), Some("suspect"), "{later}");
        assert_eq!(reclaim(&f).await, [] as [i64; 0], "{later}");
    }
    at(&f, &last, "15 s").await;
    assert_eq!(reclaim(&f).await, [first]);
}

#[tokio::test]
async fn a_successor_may_confirm_and_end_what_its_predecessors_left() {
    let f = Fixture::new().await;
    let first = register(&f, "m1").await;
    for n in 1..=6 {
        reserve(&f, n, "m1", first).await;
    }
    register(&f, "m1").await;
    let now = register(&f, "m1").await;
    assert_eq!(confirm(&f, 1, "m1", now).await, "confirmed");
    for (call, outcome) in [
        (format!("release_session('{}', 'm1', {now})", id(2)), "released"),
        (format!("release_sessions('{{{}}}', 'm1', {now})", id(3)), "released"),
        (format!("release_kernel('{}', 'm1', {now})", id(400)), "released"),
        (format!("terminate_session('{}', 'm1', {now})", id(5)), "terminating"),
        (format!("settle_kernel('{}', '{{}}', 'm1', {now})", id(600)), "settled"),
    ] {
        assert_eq!(f.outcome(&call).await, outcome, "{call}");
    }
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_manager_does_not_end_what_another_holds_but_whoever_names_none_may() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    let m2 = register(&f, "m2").await;
    reserve(&f, 1, "m1", m1).await;
    reserve(&f, 2, "m2", m2).await;
    for call in [
        format!("confirm_session('{}', 'm2', {m2})", id(1)),
        format!("release_session('{}', 'm2', {m2})", id(1)),
        format!("release_sessions('{{{},{}}}', 'm2', {m2})", id(2), id(1)),
        format!("release_kernel('{}', 'm2', {m2})", id(100)),
        format!("terminate_session('{}', 'm2', {m2})", id(1)),
        format!("settle_kernel('{}', '{{}}', 'm2', {m2})", id(100)),
    ] {
        let sql = format!("select * from occupancy.{call}");
        assert_eq!(f.unchanged(f.refused(&sql, &[])).await, "OC009", "{call}");
        let error = f.client.query(&sql, &[]).await.expect_err("held by another");
        let holder = format!("session {}: held by manager m1, epoch {m1}", id(1));
        assert_eq!(detail(&error), holder, "{call}");
    }
    assert_eq!(f.outcome(&format!("release_session('{}')", id(1))).await, "released");
    // A confirmed session is everybody's.
    confirm(&f, 2, "m2", m2).await;
    let release = format!("release_session('{}', 'm1', {m1})", id(2));
    assert_eq!(f.outcome(&release).await, "released");
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_repeated_reservation_takes_over_from_the_suspect_and_not_from_the_living() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    let m2 = register(&f, "m2").await;
    reserve(&f, 1, "m1", m1).await;
    assert_eq!(reserve(&f, 1, "m1", m1).await, "already_admitted");
    assert_eq!(f.unchanged(reserve(&f, 1, "m2", m2)).await, "already_admitted");
    assert_eq!(confirm_refused(&f, 1, "m2", m2).await, "OC009", "the living keeps it");
    assert_eq!(f.unchanged(f.reserve(&session(1))).await["outcome"], "already_admitted");

    at(&f, &beat(m1), "10 s").await;
    heartbeat(&f, "m2", m2).await;
    assert_eq!(reserve(&f, 1, "m2", m2).await, "already_admitted");
    assert_eq!(lease(&f, 1).await.as_deref(), Some("held"));
    assert_eq!(heartbeat(&f, "m1", m1).await, "recovered");
    assert_eq!(f.unchanged(confirm_refused(&f, 1, "m1", m1)).await, "OC009");
    let sql = format!("select * from occupancy.release_session('{}', 'm1', {m1})", id(1));
    assert_eq!(f.unchanged(f.refused(&sql, &[])).await, "OC009", "a late release");
    assert_eq!(confirm(&f, 1, "m2", m2).await, "confirmed");
    assert_eq!(used(&f).await, 1);
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_restarted_manager_takes_over_by_repeating_its_reservation() {
    let f = Fixture::new().await;
    let old = register(&f, "m1").await;
    reserve(&f, 1, "m1", old).await;
    let new = register(&f, "m1").await;
    assert_eq!(reserve(&f, 1, "m1", new).await, "already_admitted");
    assert_eq!(lease(&f, 1).await.as_deref(), Some("held"));
    at(&f, &beat(old), "15 s").await;
    heartbeat(&f, "m1", new).await;
    assert_eq!(reclaim(&f).await, [] as [i64; 0]);
    assert_eq!(confirm(&f, 1, "m1", new).await, "confirmed");
}

#[tokio::test]
async fn a_confirmation_of_what_does_not_run_says_so() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    assert_eq!(f.unchanged(confirm(&f, 9, "m1", m1)).await, "unknown");
    reserve(&f, 1, "m1", m1).await;
    f.outcome(&format!("terminate_session('{}')", id(1))).await;
    assert_eq!(f.unchanged(confirm(&f, 1, "m1", m1)).await, "already_terminating");
    f.outcome(&format!("release_session('{}')", id(1))).await;
    assert_eq!(f.unchanged(confirm(&f, 1, "m1", m1)).await, "already_released");
    f.outcome(&format!("release_session('{}')", id(2))).await;
    assert_eq!(f.unchanged(confirm(&f, 2, "m1", m1)).await, "already_released");
}

#[tokio::test]
async fn what_was_terminating_unconfirmed_is_freed_too() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    reserve(&f, 1, "m1", m1).await;
    f.outcome(&format!("terminate_session('{}', 'm1', {m1})", id(1))).await;
    at(&f, &beat(m1), "15 s").await;
    assert_eq!(reclaim(&f).await, [m1]);
    let sql = "select occupied_slots from occupancy.agent_occupancy where agent_id = 'i-01'";
    assert_eq!(f.row(sql, &[]).await["occupied_slots"], json!({}));
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_reclaim_frees_no_more_than_it_is_asked_to() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    let m2 = register(&f, "m2").await;
    for n in 1..=3 {
        reserve(&f, n, "m1", m1).await;
        reserve(&f, n + 3, "m2", m2).await;
    }
    at(&f, &beat(m2), "15 s").await;
    for (freed, left) in [(4, 2), (2, 0), (0, 0)] {
        let rows = f.rows("select * from occupancy.reclaim_expired(4)", &[]).await;
        assert_eq!((rows.len(), used(&f).await), (freed, left));
    }
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_batch_is_held_as_single_reservations_are() {
    let f = Fixture::new().await;
    let old = register(&f, "m1").await;
    let m1 = register(&f, "m1").await;
    let m2 = register(&f, "m2").await;
    reserve(&f, 7, "m1", m1).await;
    let by = |n, manager: Value, epoch: Value| {
        with(session(n), json!({"manager": manager, "epoch": epoch}))
    };
    let batch = [
        by(1, json!("m1"), json!(m1)),
        by(2, json!("m2"), json!(m2)),
        session(3),
        by(4, json!("m1"), json!(old)),
        by(5, json!(null), json!(null)),
        by(6, json!("m1"), json!(null)),
        by(7, json!("m1"), json!(m1)),
        by(8, json!("m1"), json!("x")),
        by(9, json!(7), json!(m1)),
        by(10, json!("m1"), json!(1.5)),
    ];
    let answers = f.reserve_all(&batch).await;
    let verdicts: Vec<_> = answers
        .iter()
        .map(|row| format!("{} {}", row["outcome"].as_str().unwrap_or(""), row["code"]))
        .collect();
    let expected = [
        "admitted null",
        "admitted null",
        "admitted null",
        "invalid \"OC009\"",
        "admitted null",
        "invalid \"OC005\"",
        "already_admitted null",
        "invalid \"OC005\"",
        "invalid \"OC005\"",
        "invalid \"OC005\"",
    ];
    assert_eq!(verdicts, expected);
    let message = answers[3]["message"].as_str().expect("a message");
    assert!(message.contains(&format!("fenced by epoch {m1}")), "{message}");
    let held = f
        .rows("select session_id::text, epoch from occupancy.leases order by session_id", &[])
        .await;
    let held: Vec<_> =
        held.iter().map(|row| (row["session_id"].clone(), row["epoch"].clone())).collect();
    let expected = [(id(1), m1), (id(2), m2), (id(7), m1)];
    assert_eq!(held, expected.map(|(session, epoch)| (json!(session), json!(epoch))));
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_batch_that_is_decided_in_turn_is_held_too_and_takes_over() {
    let f = Fixture::new().await;
    f.run("select occupancy.put_resource_policy('open', 2)").await;
    let m1 = register(&f, "m1").await;
    let m2 = register(&f, "m2").await;
    reserve(&f, 1, "m1", m1).await;
    at(&f, &beat(m1), "10 s").await;
    heartbeat(&f, "m2", m2).await;
    let batch = [1, 2, 3].map(|n| with(session(n), json!({"manager": "m2", "epoch": m2})));
    let answers = f.reserve_all(&batch).await;
    assert_eq!(each(&answers, "outcome"), ["already_admitted", "admitted", "rejected"]);
    let held = f.rows("select epoch from occupancy.leases", &[]).await;
    assert_eq!(held, [json!({"epoch": m2}), json!({"epoch": m2})]);
    assert_sound(&f).await;
}

#[tokio::test]
async fn managers_that_hold_nothing_are_forgotten_in_time() {
    let f = Fixture::new().await;
    let dead = register(&f, "dead").await;
    let holds = register(&f, "holds").await;
    reserve(&f, 1, "holds", holds).await;
    at(&f, &beat(holds), "15 s").await;
    let lives = register(&f, "lives").await;
    let prune = "select occupancy.prune_managers('1 h') as n";
    assert_eq!(f.row(prune, &[]).await["n"], 0);
    at(&f, &beat(holds), "1 h 15 s").await;
    heartbeat(&f, "lives", lives).await;
    assert_eq!(f.row(prune, &[]).await["n"], 1);
    let left = f.rows("select manager from occupancy.managers order by epoch", &[]).await;
    assert_eq!(each(&left, "manager"), ["holds", "lives"]);
    let sql = format!("select * from occupancy.heartbeat_manager('dead', {dead})");
    assert_eq!(f.refused(&sql, &[]).await, "OC009");
    assert_eq!(reclaim(&f).await, [holds]);
    assert_eq!(f.row(prune, &[]).await["n"], 1);
    assert_sound(&f).await;
}

#[tokio::test]
async fn a_lease_of_a_manager_that_is_not_there_is_named() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    reserve(&f, 1, "m1", m1).await;
    f.run("delete from occupancy.manager").await;
    let findings = f.rows("select * from occupancy.audit()", &[]).await;
    assert_eq!(each(&findings, "invariant"), ["lease_has_manager"]);
    assert_eq!(findings[0]["expected"], json!(format!("manager of epoch {m1}")));
}

#[tokio::test]
async fn an_old_snapshot_knows_that_its_holder_is_fenced_and_does_not_mind_a_beat() {
    let f = Fixture::new().await;
    let m1 = register(&f, "m1").await;
    reserve(&f, 1, "m1", m1).await;
    reserve(&f, 2, "m1", m1).await;
    let release = format!("select * from occupancy.release_session('{}', 'm1', {m1})", id(1));
    for isolation in ["repeatable read", "serializable"] {
        let caller = f.db.connect().await;
        let begin = format!("begin isolation level {isolation}; select from occupancy.manager");
        caller.batch_execute(&begin).await.expect("a snapshot");
        heartbeat(&f, "m1", m1).await;
        caller.batch_execute(&release).await.expect("a beat is no conflict");
        caller.batch_execute("rollback").await.expect("rolled back");
    }
    for isolation in ["repeatable read", "serializable"] {
        let now = f.row("select max(epoch) as epoch from occupancy.managers", &[]).await;
        let epoch = now["epoch"].as_i64().expect("a number");
        let caller = f.db.connect().await;
        let begin = format!("begin isolation level {isolation}; select from occupancy.manager");
        caller.batch_execute(&begin).await.expect("a snapshot");
        register(&f, "m1").await;
        let call = format!("select * from occupancy.release_session('{}', 'm1', {epoch})", id(2));
        let error = caller.batch_execute(&call).await.expect_err("fenced since the snapshot");
        assert_eq!(error.code().map(SqlState::code), Some("40001"), "{isolation}");
    }
}

#[tokio::test]
async fn a_silent_agent_is_lost_keeps_what_it_holds_and_comes_back() {
    let f = Fixture::new().await;
    f.reserve(&session(1)).await;
    at(&f, "select min(heartbeat_at) from occupancy.agent", "1 min").await;
    for agent in ["i-02", "i-03", "j-01"] {
        f.outcome(&format!("put_agent('{agent}')")).await;
    }
    f.outcome("put_agent('j-01', status => 'TERMINATED')").await;
    f.outcome("put_agent('i-03', status => 'RESTARTING')").await;
    let sweep = "select agent_id from occupancy.sweep_agents('1 min')";
    assert_eq!(each(&f.rows(sweep, &[]).await, "agent_id"), ["i-01"]);
    assert_eq!(f.unchanged(f.rows(sweep, &[])).await, [] as [Value; 0]);
    let verdict = f.reserve(&session(2)).await;
    assert_eq!(verdict["code"], "agent_unavailable");
    let occupancy =
        "select status, occupied_slots from occupancy.agent_occupancy where agent_id = 'i-01'";
    let lost = json!({"status": "LOST", "occupied_slots": {"cpu": "1"}});
    assert_eq!(f.row(occupancy, &[]).await, lost);
    f.outcome("put_agent('i-01')").await;
    let back = json!({"status": "ALIVE", "occupied_slots": {"cpu": "1"}});
    assert_eq!(f.row(occupancy, &[]).await, back);
    assert_eq!(f.reserve(&session(2)).await["outcome"], "admitted");

    at(&f, "select max(heartbeat_at) from occupancy.agent", "1 min").await;
    let lost = f.rows(&format!("{sweep} order by agent_id"), &[]).await;
    assert_eq!(each(&lost, "agent_id"), ["i-01", "i-02", "i-03"], "one that restarts as well");
    assert_sound(&f).await;
}

#[tokio::test]
async fn an_evacuated_agent_is_free_once_and_nothing_else_is() {
    let f = Fixture::new().await;
    let on = |kernels: Value, n| with(session(n), json!({ "kernels": kernels }));
    let kernel =
        |n: u128, agent: &str| json!({"kernel_id": id(n), "agent": agent, "slots": {"cpu": 2}});
    f.reserve(&on(json!([kernel(100, "i-01"), kernel(101, "i-02"), kernel(102, "i-01")]), 1)).await;
    f.reserve(&on(json!([kernel(200, "i-01")]), 2)).await;
    f.reserve(&on(json!([kernel(300, "i-02")]), 3)).await;
    f.outcome(&format!("terminate_session('{}')", id(2))).await;
    f.outcome("put_agent('i-01', status => 'LOST')").await;

    let evacuate = "select * from occupancy.evacuate_agent('i-01')";
    let freed = f.rows(evacuate, &[]).await;
    let freed: Vec<_> = freed
        .iter()
        .map(|row| (row["kernel_id"].clone(), row["outcome"].clone(), row["session_ended"].clone()))
        .collect();
    let expected = [(100, false), (102, false), (200, true)];
    assert_eq!(freed, expected.map(|(k, ended)| (json!(id(k)), json!("released"), json!(ended))));
    assert_eq!(f.unchanged(f.rows(evacuate, &[])).await, [] as [Value; 0]);
    let sql = "select occupied_slots from occupancy.agent_occupancy order by agent_id limit 2";
    let occupied = f.rows(sql, &[]).await;
    assert_eq!(occupied[0]["occupied_slots"], json!({}));
    assert_eq!(occupied[1]["occupied_slots"], json!({"cpu": "4"}));
    assert_eq!(used(&f).await, 2, "a session that lost a part of its kernels lives");
    let late = format!("select outcome from occupancy.release_kernel('{}')", id(100));
    assert_eq!(f.row(&late, &[]).await["outcome"], "already_released");
    assert_eq!(f.refused("select * from occupancy.evacuate_agent('x')", &[]).await, "OC003");
    assert_sound(&f).await;
}
