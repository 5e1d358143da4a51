//! What must hold of a snapshot of all tables, worked out again in Rust from the ledger alone, and
//! what a recalculation says that it did.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Every row of every table, as `Fixture::snapshot` reads it.
pub(super) type Tables = Map<String, Value>;

/// The rows of a table.
pub(super) fn rows<'a>(tables: &'a Tables, table: &str) -> impl Iterator<Item = &'a Value> {
    tables[table].as_array().into_iter().flatten()
}

/// A text of a row; NULL is empty.
pub(super) fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_default()
}

fn find<'a>(tables: &'a Tables, table: &str, column: &str, key: &str) -> Option<&'a Value> {
    rows(tables, table).find(|row| text(row, column) == key)
}

/// Amounts in units of 10⁻¹², the smallest there is.
type Slots = BTreeMap<String, i128>;

fn amount(written: &str) -> i128 {
    let (sign, digits) = written.strip_prefix('-').map_or((1, written), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    sign * format!("{whole}{part:0<12}").parse::<i128>().expect("a decimal")
}

fn slots(stored: &Value) -> Slots {
    let stored = stored.as_object().expect("an object of slots");
    stored.iter().map(|(name, n)| (name.clone(), amount(n.as_str().expect("a text")))).collect()
}

fn lives(row: &Value) -> bool {
    row["ended_at"].is_null()
}

fn waits(session: &Value) -> bool {
    session["status"] == "PENDING"
}

fn is_system(session: &Value) -> bool {
    session["session_type"] == "system"
}

/// The sum over the kernels that live and that are meant.
fn occupied(tables: &Tables, meant: impl Fn(&Value) -> bool) -> Slots {
    let mut sum = Slots::new();
    for kernel in rows(tables, "kernel").filter(|kernel| lives(kernel) && meant(kernel)) {
        let settled = &kernel["settled_slots"];
        let held = if settled.is_null() { &kernel["requested_slots"] } else { settled };
        for (name, amount) in slots(held) {
            *sum.entry(name).or_default() += amount;
        }
    }
    sum.retain(|_, amount| *amount != 0);
    sum
}

/// The number of sessions that are charged to somebody, and their slots.
fn charged(tables: &Tables, to: impl Fn(&Value) -> bool) -> (i64, Slots) {
    let sessions: BTreeSet<&str> = rows(tables, "session")
        .filter(|session| session["status"] == "RUNNING" && !is_system(session) && to(session))
        .map(|session| text(session, "session_id"))
        .collect();
    let slots = occupied(tables, |kernel| sessions.contains(text(kernel, "session_id")));
    (i64::try_from(sessions.len()).expect("few"), slots)
}

/// The number of sessions of a key that wait and have a place in the queue, and their slots.
fn pending(tables: &Tables, key: &str) -> (i64, Slots) {
    let (mut sessions, mut sum) = (0, Slots::new());
    let of_key = |session: &&Value| session["access_key"] == key && !is_system(session);
    for session in rows(tables, "session").filter(|session| waits(session)).filter(of_key) {
        let id = text(session, "session_id");
        let Some(place) = find(tables, "queued_session", "session_id", id) else { continue };
        sessions += 1;
        for (name, amount) in slots(&place["total_slots"]) {
            *sum.entry(name).or_default() += amount;
        }
    }
    (sessions, sum)
}

/// Every broken invariant, with its subject.
pub(super) fn broken(tables: &Tables) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    let mut check = |holds: bool, invariant: &str, kind: &str, id: &str| {
        if !holds {
            broken.insert(format!("{invariant} {kind} {id}"));
        }
    };
    for key in rows(tables, "keypair") {
        let id = text(key, "access_key");
        let of_class = |system| {
            rows(tables, "session_concurrency")
                .filter(|row| row["access_key"] == id && row["system"] == system)
                .count()
        };
        let (_, slots_used) = charged(tables, |session| session["access_key"] == id);
        let holds = key["compute_used"] == of_class(false)
            && key["system_used"] == of_class(true)
            && slots(&key["occupied_slots"]) == slots_used;
        check(holds, "key_use", "keypair", id);
    }
    for row in rows(tables, "session_concurrency") {
        let id = text(row, "session_id");
        let holds = find(tables, "session", "session_id", id).is_some_and(|session| {
            session["status"] == "RUNNING"
                && session["access_key"] == row["access_key"]
                && row["system"] == is_system(session)
        });
        check(holds, "slot_of_session", "session_concurrency", id);
    }
    for session in rows(tables, "session").filter(|session| lives(session)) {
        let (id, key) = (text(session, "session_id"), text(session, "access_key"));
        let has_slot = find(tables, "session_concurrency", "session_id", id).is_some();
        let has_key = find(tables, "keypair", "access_key", key).is_some();
        let has_kernel = rows(tables, "kernel").any(|k| lives(k) && k["session_id"] == id);
        check(has_slot || session["status"] != "RUNNING", "session_has_slot", "session", id);
        check(has_key, "session_has_key", "session", id);
        check(has_kernel || waits(session), "session_has_kernel", "session", id);
        if waits(session) {
            let has_place = find(tables, "queued_session", "session_id", id).is_some();
            let has_count = find(tables, "key_queue", "access_key", key).is_some();
            check(has_place, "pending_has_place", "session", id);
            check(has_count, "pending_has_count", "session", id);
        }
    }
    for kernel in rows(tables, "kernel").filter(|kernel| lives(kernel)) {
        let id = text(kernel, "kernel_id");
        let session = find(tables, "session", "session_id", text(kernel, "session_id"));
        let agent = find(tables, "agent", "agent_id", text(kernel, "agent_id"));
        let runs = session.is_some_and(|session| lives(session) && !waits(session));
        check(runs, "kernel_has_session", "kernel", id);
        check(agent.is_some(), "kernel_has_agent", "kernel", id);
    }
    for agent in rows(tables, "agent") {
        let id = text(agent, "agent_id");
        let used = occupied(tables, |kernel| kernel["agent_id"] == id);
        check(slots(&agent["occupied_slots"]) == used, "agent_use", "agent", id);
    }
    for quota in rows(tables, "quota") {
        let (scope, id) = (text(quota, "scope"), text(quota, "scope_id"));
        let column = if scope == "user" { "user_id" } else { scope };
        let (sessions, used) = charged(tables, |session| session[column] == id);
        let holds = quota["used"] == sessions && slots(&quota["occupied_slots"]) == used;
        check(holds, "quota_use", &format!("{scope} quota"), id);
    }
    for queue in rows(tables, "key_queue") {
        let id = text(queue, "access_key");
        let (sessions, used) = pending(tables, id);
        let holds = queue["sessions"] == sessions && slots(&queue["slots"]) == used;
        check(holds, "queue_use", "queue of keypair", id);
    }
    for place in rows(tables, "queued_session") {
        let id = text(place, "session_id");
        let holds = find(tables, "session", "session_id", id).is_some_and(|session| {
            waits(session)
                && session["access_key"] == place["access_key"]
                && session["resource_group"] == place["resource_group"]
        });
        check(holds, "place_has_pending", "queued_session", id);
    }
    for (table, column) in [("queued_kernel", "kernel_id"), ("session_dependency", "depends_on")] {
        for kept in rows(tables, table) {
            let session = text(kept, "session_id");
            let holds = find(tables, "session", "session_id", session).is_some_and(waits);
            let id = text(kept, column);
            let kind = if table == "queued_kernel" { table } else { &format!("{table} {session}") };
            check(holds, "kept_for_pending", kind, id);
        }
    }
    broken
}

/// Where the subject of a correction is stored: the table, and the columns that find the row.
fn place(subject: &str) -> (&str, Vec<(&'static str, &str)>) {
    let words: Vec<&str> = subject.split(' ').collect();
    match words[..] {
        ["keypair", id] => ("keypair", vec![("access_key", id)]),
        ["agent", id] => ("agent", vec![("agent_id", id)]),
        ["kernel", id] => ("kernel", vec![("kernel_id", id)]),
        ["session_concurrency", id] => ("session_concurrency", vec![("session_id", id)]),
        ["queue", "of", "keypair", id] => ("key_queue", vec![("access_key", id)]),
        ["queued_session", id] => ("queued_session", vec![("session_id", id)]),
        ["queued_kernel", id] => ("queued_kernel", vec![("kernel_id", id)]),
        ["session_dependency", session, id] => {
            ("session_dependency", vec![("session_id", session), ("depends_on", id)])
        }
        [scope, "quota", id] => ("quota", vec![("scope", scope), ("scope_id", id)]),
        _ => panic!("an unknown subject: {subject}"),
    }
}

/// Fails unless the corrections are the whole difference between two snapshots: what each says was
/// there was there, what it says is there now is there, and nothing else has changed.
pub(super) fn assert_told(before: &Tables, after: &Tables, corrections: &[Value]) {
    let mut told = before.clone();
    for correction in corrections {
        let (was, is) = (&correction["before"], &correction["after"]);
        let (table, key) = place(text(correction, "subject"));
        if told[table].is_null() {
            told[table] = Value::Array(Vec::new());
        }
        let rows = told[table].as_array_mut().expect("a table");
        let found = rows
            .iter()
            .position(|row| key.iter().all(|(column, id)| text(row, column) == *id))
            .filter(|_| !was.is_null());
        match (found, was, is) {
            (Some(row), was, Value::Null) => assert_eq!(&rows.remove(row), was, "{correction}"),
            (None, Value::Null, is) => rows.push(is.clone()),
            (Some(row), Value::Object(was), Value::Object(is)) => {
                assert!(was.keys().eq(is.keys()), "{correction}");
                for (column, value) in was {
                    assert_eq!(&rows[row][column], value, "{correction}");
                    rows[row][column] = is[column].clone();
                }
            }
            _ => panic!("what was not there is said to have been: {correction}"),
        }
    }
    assert_eq!(sorted(told), sorted(after.clone()), "{corrections:#?}");
}

/// With the rows in one order whatever their origin; a table without rows is NULL.
fn sorted(mut tables: Tables) -> Tables {
    for table in tables.values_mut() {
        if let Value::Array(rows) = table {
            rows.sort_by_cached_key(Value::to_string);
            if rows.is_empty() {
                *table = Value::Null;
            }
        }
    }
    tables
}
