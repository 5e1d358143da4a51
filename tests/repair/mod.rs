//! Repair: what was changed by hand is found, named and mended.

mod ledger;
mod random;

use occupancy::schema::Runner;
use serde_json::{Value, json};

use self::ledger::assert_told;
use crate::support::fixture::{Fixture, each, id, request, with};

/// One kind of damage. `pg_temp.nth` is the id of a number; subjects are called by that number.
struct Damage {
    done_by: &'static str,
    /// What the audit finds: invariant and subject.
    found: &'static [&'static str],
    /// The narrowest functions that mend it.
    mended_by: &'static [&'static str],
    /// The subjects that they report.
    corrected: &'static [&'static str],
}

/// The set is damaged by its owner, as nobody else can do that without the counters following.
const DAMAGES: &[Damage] = &[
    Damage {
        done_by: "update occupancy.keypair set compute_used = compute_used + 1 where access_key = 'AK'",
        found: &["key_use keypair AK"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["keypair AK"],
    },
    Damage {
        done_by: "update occupancy.keypair set compute_used = 0 where access_key = 'AK'",
        found: &["key_use keypair AK"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["keypair AK"],
    },
    Damage {
        done_by: "update occupancy.keypair set system_used = system_used + 1 where access_key = 'AK'",
        found: &["key_use keypair AK"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["keypair AK"],
    },
    Damage {
        done_by: "update occupancy.keypair set system_used = 0 where access_key = 'AK'",
        found: &["key_use keypair AK"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["keypair AK"],
    },
    Damage {
        done_by: "update occupancy.keypair set occupied_slots = '{}' where access_key = 'AK'",
        found: &["key_use keypair AK"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["keypair AK"],
    },
    Damage {
        done_by: "update occupancy.keypair set occupied_slots = '{\"cpu\": \"99\", \"mem\": \"1\"}'
                  where access_key = 'AK'",
        found: &["key_use keypair AK"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["keypair AK"],
    },
    Damage {
        done_by: "set role occupancy_owner; delete from occupancy.session_concurrency where session_id = pg_temp.nth(1); reset role",
        found: &["key_use keypair AK", "session_has_slot session 1"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["session_concurrency 1"],
    },
    Damage {
        done_by: "set role occupancy_owner; delete from occupancy.session_concurrency where session_id = pg_temp.nth(3); reset role",
        found: &["key_use keypair AK", "session_has_slot session 3"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["session_concurrency 3"],
    },
    Damage {
        done_by: "set role occupancy_owner; insert into occupancy.session_concurrency values ('AK', pg_temp.nth(9), false); reset role",
        found: &["key_use keypair AK", "slot_of_session session_concurrency 9"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["session_concurrency 9"],
    },
    Damage {
        done_by: "set role occupancy_owner; insert into occupancy.session_concurrency values ('AK', pg_temp.nth(2), true); reset role",
        found: &["key_use keypair AK", "slot_of_session session_concurrency 2"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["session_concurrency 2"],
    },
    Damage {
        done_by: "set role occupancy_owner; insert into occupancy.session_concurrency values ('AK', pg_temp.nth(5), false); reset role",
        found: &["key_use keypair AK", "slot_of_session session_concurrency 5"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["session_concurrency 5"],
    },
    Damage {
        done_by: "set role occupancy_owner; update occupancy.session_concurrency set access_key = 'BK' where session_id = pg_temp.nth(1); reset role",
        found: &[
            "key_use keypair AK",
            "key_use keypair BK",
            "slot_of_session session_concurrency 1",
        ],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["session_concurrency 1", "session_concurrency 1"],
    },
    Damage {
        done_by: "set role occupancy_owner; update occupancy.session_concurrency set system = true where session_id = pg_temp.nth(1); reset role",
        found: &["key_use keypair AK", "slot_of_session session_concurrency 1"],
        mended_by: &["recalc_concurrency('AK')"],
        corrected: &["session_concurrency 1", "session_concurrency 1"],
    },
    Damage {
        done_by: "update occupancy.agent set occupied_slots = '{}' where agent_id = 'i-01'",
        found: &["agent_use agent i-01"],
        mended_by: &["recalc_agent('i-01')"],
        corrected: &["agent i-01"],
    },
    Damage {
        done_by: "update occupancy.agent set occupied_slots = '{\"cpu\": \"0.000000000001\"}'
                  where agent_id like 'i-0%'",
        found: &["agent_use agent i-01", "agent_use agent i-02", "agent_use agent i-03"],
        mended_by: &["recalc_agents_by_session(pg_temp.nth(1))", "recalc_agent('i-03')"],
        corrected: &["agent i-01", "agent i-02", "agent i-03"],
    },
    Damage {
        done_by: "update occupancy.agent set occupied_slots = '{\"gpu\": \"1\"}' where agent_id = 'j-01'",
        found: &["agent_use agent j-01"],
        mended_by: &["recalc_agent('j-01')"],
        corrected: &["agent j-01"],
    },
    Damage {
        done_by: "update occupancy.quota set used = used + 1 where scope = 'user'",
        found: &["quota_use user quota u1"],
        mended_by: &["recalc_quota('user', 'u1')"],
        corrected: &["user quota u1"],
    },
    Damage {
        done_by: "update occupancy.quota set used = 0 where scope = 'domain'",
        found: &["quota_use domain quota d1"],
        mended_by: &["recalc_quota('domain', 'd1')"],
        corrected: &["domain quota d1"],
    },
    Damage {
        done_by: "update occupancy.quota set occupied_slots = '{}' where scope = 'project'",
        found: &["quota_use project quota x"],
        mended_by: &["recalc_quota('project', 'x')"],
        corrected: &["project quota x"],
    },
    Damage {
        done_by: "update occupancy.quota set occupied_slots = occupied_slots || '{\"cpu\": \"50\"}'
                  where scope = 'resource_group'",
        found: &["quota_use resource_group quota g1"],
        mended_by: &["recalc_quota('resource_group', 'g1')"],
        corrected: &["resource_group quota g1"],
    },
];

/// Session 1 of `AK` with kernels 11 and 12 on i-01 and i-02, charged to every scope; session 2
/// that is terminating with kernel 21 on i-03; a system session 3 with kernel 31; a session 4 of
/// `AK2` with kernel 41; a session 5 that ended with kernel 51.
async fn running() -> Fixture {
    let f = Fixture::new().await;
    for quota in ["'user', 'u1'", "'project', 'x'", "'resource_group', 'g1'", "'domain', 'd1'"] {
        f.outcome(&format!("put_quota({quota}, 9)")).await;
    }
    f.run(
        "create function pg_temp.nth(n int) returns uuid language sql
           return ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid",
    )
    .await;
    let kernel =
        |n: u128, agent: &str| json!({"kernel_id": id(n), "agent": agent, "slots": {"cpu": "1.5"}});
    let sessions = [
        (1, "AK", "interactive", json!([kernel(11, "i-01"), kernel(12, "i-02")])),
        (2, "AK", "interactive", json!([kernel(21, "i-03")])),
        (3, "AK", "system", json!([kernel(31, "i-03")])),
        (4, "AK2", "batch", json!([kernel(41, "i-01")])),
        (5, "AK", "interactive", json!([kernel(51, "i-01")])),
    ];
    for (n, key, session_type, kernels) in sessions {
        let fields = json!({"kernels": kernels, "session_type": session_type, "project": "x"});
        assert_eq!(f.reserve(&with(request(n, key, &[]), fields)).await["outcome"], "admitted");
    }
    f.outcome(&format!("terminate_session('{}')", id(2))).await;
    f.outcome(&format!("release_session('{}')", id(5))).await;
    f.assert_sound().await;
    f
}

/// Subjects with short ids.
fn short(subject: &str) -> String {
    match subject.split_once(" 00000000-0000-0000-0000-") {
        Some((kind, digits)) => {
            format!("{kind} {}", i64::from_str_radix(digits, 16).expect("a test's own id"))
        }
        None => subject.to_owned(),
    }
}

async fn findings(f: &Fixture) -> Vec<String> {
    let findings = f.audit().await;
    let (invariants, subjects) = (each(&findings, "invariant"), each(&findings, "subject"));
    invariants.iter().zip(subjects).map(|(name, of)| format!("{name} {}", short(of))).collect()
}

/// The rows of recalculations, one after the other.
async fn recalculate(f: &Fixture, calls: &[&str]) -> Vec<Value> {
    let mut corrections = Vec::new();
    for call in calls {
        let sql = format!("select * from occupancy.{call}");
        corrections.extend(f.rows(&sql, &[]).await);
    }
    corrections
}

fn subjects(corrections: &[Value]) -> Vec<String> {
    each(corrections, "subject").into_iter().map(short).collect()
}

const FULL_SCANS: [&str; 3] =
    ["recalc_concurrency_fullscan()", "recalc_agents_fullscan()", "recalc_quotas_fullscan()"];

#[tokio::test]
async fn every_damage_is_named_by_the_audit_and_mended_exactly() {
    let f = running().await;
    let whole = f.snapshot().await;
    for damage in DAMAGES {
        for mended_by in [damage.mended_by, &FULL_SCANS] {
            f.run(damage.done_by).await;
            let damaged = f.snapshot().await;
            assert_ne!(damaged, whole, "{}", damage.done_by);
            assert_eq!(f.unchanged(findings(&f)).await, damage.found, "{}", damage.done_by);
            let corrections = recalculate(&f, mended_by).await;
            assert_eq!(subjects(&corrections), damage.corrected, "{}", damage.done_by);
            assert_told(&damaged, &whole, &corrections);
            assert_eq!(f.snapshot().await, whole, "{}", damage.done_by);
            f.assert_sound().await;
        }
    }
    let runner = Runner::embedded().expect("the embedded sources are sound");
    let differences = runner.verify(&mut f.db.connect().await).await.expect("verified");
    assert_eq!(differences, [], "no damage of numbers, and no mending, is one of the schema");
}

/// What somebody may do in psql to the set of those who have a slot.
const BY_HAND: &[&str] = &[
    "insert into occupancy.session_concurrency values ('AK', pg_temp.nth(9), false)",
    "insert into occupancy.session_concurrency values ('AK', pg_temp.nth(2), true)",
    "insert into occupancy.session_concurrency
       select 'BK', pg_temp.nth(n), n = 90 from generate_series(90, 93) as n",
    "delete from occupancy.session_concurrency where session_id = pg_temp.nth(1)",
    "delete from occupancy.session_concurrency where access_key = 'AK'",
    "delete from occupancy.session_concurrency",
    "truncate occupancy.session_concurrency",
    "update occupancy.session_concurrency set access_key = 'BK' where session_id = pg_temp.nth(1)",
    "update occupancy.session_concurrency set system = not system",
    "update occupancy.session_concurrency set session_id = gen_random_uuid()",
    "insert into occupancy.session_concurrency values ('AK2', pg_temp.nth(4), true)
       on conflict do nothing;
     insert into occupancy.session_concurrency values ('BK', pg_temp.nth(4), true)
       on conflict (session_id) do update set access_key = 'BK', system = true",
    "with moved as (delete from occupancy.session_concurrency returning *)
     insert into occupancy.session_concurrency select 'AK2', pg_temp.nth(99), false from moved limit 1",
    r"copy occupancy.session_concurrency
        from program 'printf ''BK\t00000000-0000-0000-0000-000000000009\tf\n'''",
];

#[tokio::test]
async fn whatever_is_done_to_the_set_by_hand_its_counters_follow() {
    let f = running().await;
    let whole = f.snapshot().await;
    for statement in BY_HAND {
        f.run(statement).await;
        let damaged = f.snapshot().await;
        assert_ne!(damaged["session_concurrency"], whole["session_concurrency"], "{statement}");
        let found = findings(&f).await;
        assert!(!found.is_empty(), "{statement}");
        for finding in found {
            let of_the_set =
                finding.starts_with("slot_of_session") || finding.starts_with("session_has_slot");
            assert!(of_the_set, "{statement}: {finding}");
        }
        let corrections = recalculate(&f, &["recalc_concurrency_fullscan()"]).await;
        assert_told(&damaged, &whole, &corrections);
        assert_eq!(f.snapshot().await, whole, "{statement}");
    }
}

#[tokio::test]
async fn a_slot_of_a_key_that_nobody_registered_is_refused() {
    let f = running().await;
    for statement in [
        "insert into occupancy.session_concurrency values ('gone', pg_temp.nth(9), false)",
        "update occupancy.session_concurrency set access_key = 'gone'",
    ] {
        assert_eq!(f.unchanged(f.refused(statement, &[])).await, "OC002", "{statement}");
    }
    // What such a key has left may be cleared away.
    f.run(
        "delete from occupancy.keypair where access_key = 'AK2';
           delete from occupancy.session_concurrency where access_key = 'AK2'",
    )
    .await;
}

#[tokio::test]
async fn a_slot_that_was_deleted_by_hand_is_not_freed_again() {
    // The key runs more sessions than this one, so that a count too low would go unnoticed until one
    // too many is admitted.
    let f = running().await;
    let more = [6, 7].map(|n| request(n, "AK", &[("i-01", json!({"cpu": 1}))]));
    f.reserve_all(&more).await;
    f.reserve(&with(more[0].clone(), json!({"session_id": id(8), "session_type": "system"}))).await;
    let ends = [
        "select occupancy.release_session(pg_temp.nth(1)), occupancy.release_session(pg_temp.nth(3))",
        "select occupancy.release_sessions(array[pg_temp.nth(1), pg_temp.nth(3)])",
        "select occupancy.terminate_session(pg_temp.nth(1)), occupancy.terminate_session(pg_temp.nth(3))",
        "select occupancy.release_kernel(pg_temp.nth(11)), occupancy.release_kernel(pg_temp.nth(12)),
                occupancy.release_kernel(pg_temp.nth(31))",
    ];
    let mine = "session_id in (pg_temp.nth(1), pg_temp.nth(3))";
    for end in ends {
        // Deleted: then nothing is wrong any more once the sessions have ended.
        f.run("begin").await;
        f.run(&format!("delete from occupancy.session_concurrency where {mine}")).await;
        assert_eq!(f.key("AK").await.0, 2);
        f.run(end).await;
        f.assert_sound().await;
        assert_eq!(f.key("AK").await, (2, 1, json!({"cpu": "2"})), "{end}");
        f.run("rollback").await;

        // Under another key: a row that nobody accounts for stays until it is mended.
        f.run("begin").await;
        f.run(&format!("update occupancy.session_concurrency set access_key = 'BK' where {mine}"))
            .await;
        f.run(end).await;
        let strays = [1, 3].map(|n| format!("slot_of_session session_concurrency {n}"));
        assert_eq!(findings(&f).await, strays, "{end}");
        recalculate(&f, &["recalc_concurrency('BK')"]).await;
        f.assert_sound().await;
        f.run("rollback").await;
    }
    f.run(&format!("delete from occupancy.session_concurrency where {mine}")).await;
    f.run("select occupancy.clear_concurrency('AK')").await;
    f.assert_sound().await;
}

#[tokio::test]
async fn a_slot_that_a_terminating_session_was_given_by_hand_is_not_freed_uncounted() {
    let f = running().await;
    f.run("insert into occupancy.session_concurrency values ('AK', pg_temp.nth(2), false)").await;
    for end in ["release_session(pg_temp.nth(2))", "release_sessions(array[pg_temp.nth(2)])"] {
        f.run("begin").await;
        f.outcome(end).await;
        assert_eq!(findings(&f).await, ["slot_of_session session_concurrency 2"], "{end}");
        recalculate(&f, &["recalc_concurrency('AK')"]).await;
        f.assert_sound().await;
        f.run("rollback").await;
    }
}

#[tokio::test]
async fn a_correction_tells_what_was_and_what_is() {
    let f = running().await;
    f.run("update occupancy.agent set occupied_slots = '{\"cpu\": \"7\"}' where agent_id = 'i-02';
           update occupancy.keypair set compute_used = 4, occupied_slots = '{}' where access_key = 'AK';
           update occupancy.quota set used = 0 where scope = 'user';
           set role occupancy_owner;
           insert into occupancy.session_concurrency values ('BK', pg_temp.nth(9), false);
           reset role;")
        .await;
    let stray = json!({"access_key": "BK", "session_id": id(9), "system": false});
    let cpu = |cpu: &str| json!({"cpu": cpu});
    let expected = [
        ("session_concurrency 9", stray, Value::Null),
        (
            "keypair AK",
            json!({"compute_used": 4, "system_used": 1, "occupied_slots": {}}),
            json!({"compute_used": 1, "system_used": 1, "occupied_slots": cpu("3")}),
        ),
        ("agent i-02", json!({"occupied_slots": cpu("7")}), json!({"occupied_slots": cpu("1.5")})),
        (
            "user quota u1",
            json!({"used": 0, "occupied_slots": cpu("4.5")}),
            json!({"used": 2, "occupied_slots": cpu("4.5")}),
        ),
    ];
    let corrections = recalculate(&f, &FULL_SCANS).await;
    assert_eq!(corrections.len(), expected.len());
    for (correction, (subject, before, after)) in corrections.iter().zip(expected) {
        assert_eq!(subjects(std::slice::from_ref(correction)), [subject]);
        assert_eq!((&correction["before"], &correction["after"]), (&before, &after), "{subject}");
    }
    f.assert_sound().await;
}

#[tokio::test]
async fn a_finding_tells_what_is_expected_and_what_is_stored() {
    let f = running().await;
    f.run("update occupancy.quota set used = 7, occupied_slots = '{}' where scope = 'user'").await;
    let expected = json!({
        "invariant": "quota_use", "subject": "user quota u1",
        "expected": "2 sessions, {\"cpu\": \"4.5\"}", "actual": "7 sessions, {}",
        "remedy": "select * from occupancy.recalc_quota('user', 'u1')",
    });
    assert_eq!(f.audit().await, [expected]);
}

#[tokio::test]
async fn a_kernel_without_a_session_that_lives_is_ended() {
    let f = running().await;
    let before = f.occupied("i-01").await;
    let orphans = [
        "update occupancy.kernel set ended_at = null where kernel_id = pg_temp.nth(51)",
        "insert into occupancy.kernel values
           (pg_temp.nth(91), pg_temp.nth(9), 1, false, 'i-01', '{\"cpu\": \"2\"}', null, null)",
    ];
    for (orphan, kernel) in orphans.into_iter().zip(["kernel 51", "kernel 91"]) {
        f.run(orphan).await;
        let found = ["agent_use agent i-01", &format!("kernel_has_session {kernel}")];
        assert_eq!(findings(&f).await, found);
        let corrections = recalculate(&f, &["recalc_agent('i-01')"]).await;
        assert_eq!(subjects(&corrections), [kernel]);
        assert!(corrections[0]["after"]["ended_at"].is_string());
        assert_eq!(f.occupied("i-01").await, before);
        f.assert_sound().await;
    }
}

#[tokio::test]
async fn a_kernel_that_was_deleted_or_ended_by_hand_is_taken_off_everywhere() {
    let f = running().await;
    let damages = [
        "delete from occupancy.kernel where kernel_id = pg_temp.nth(12)",
        "update occupancy.kernel set ended_at = now() where kernel_id = pg_temp.nth(12)",
        "update occupancy.kernel set settled_slots = '{\"cpu\": \"0.5\"}' where kernel_id = pg_temp.nth(12)",
    ];
    let found = [
        "agent_use agent i-02",
        "key_use keypair AK",
        "quota_use domain quota d1",
        "quota_use project quota x",
        "quota_use resource_group quota g1",
        "quota_use user quota u1",
    ];
    for damage in damages {
        f.run("begin").await;
        f.run(damage).await;
        assert_eq!(findings(&f).await, found, "{damage}");
        let corrected = [
            "keypair AK",
            "agent i-02",
            "user quota u1",
            "project quota x",
            "resource_group quota g1",
            "domain quota d1",
        ];
        assert_eq!(subjects(&recalculate(&f, &FULL_SCANS).await), corrected, "{damage}");
        f.assert_sound().await;
        f.run("rollback").await;
    }
}

#[tokio::test]
async fn a_session_that_was_ended_by_hand_is_taken_off_everywhere() {
    let f = running().await;
    f.run(
        "update occupancy.session set status = 'TERMINATED', ended_at = now()
           where session_id = pg_temp.nth(1)",
    )
    .await;
    let found = [
        "kernel_has_session kernel 11",
        "kernel_has_session kernel 12",
        "key_use keypair AK",
        "quota_use domain quota d1",
        "quota_use project quota x",
        "quota_use resource_group quota g1",
        "quota_use user quota u1",
        "slot_of_session session_concurrency 1",
    ];
    assert_eq!(findings(&f).await, found);
    recalculate(&f, &FULL_SCANS).await;
    f.assert_sound().await;
    assert_eq!(f.key("AK").await, (0, 1, json!({})));
    assert_eq!(f.occupied("i-02").await, json!({}));
}

/// What the audit says against each finding.
async fn remedies(f: &Fixture) -> Vec<String> {
    let findings = f.audit().await;
    each(&findings, "remedy").into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_key_that_was_deleted_by_hand_counts_its_sessions_again_once_it_is_registered() {
    // Nobody knows any more whose the key was. Until somebody says so its sessions can be released
    // all the same; what they occupy elsewhere is right.
    let f = running().await;
    let before = f.key("AK").await;
    f.run("delete from occupancy.keypair where access_key = 'AK'").await;
    let found = [1, 2, 3].map(|n| format!("session_has_key session {n}"));
    assert_eq!(findings(&f).await, found);
    let remedy = "occupancy.put_keypair('AK', …, is_active => false), \
                  then select * from occupancy.recalc_concurrency('AK')";
    assert_eq!(remedies(&f).await, [remedy; 3]);
    assert_eq!(f.unchanged(recalculate(&f, &FULL_SCANS)).await, [] as [Value; 0]);
    assert_eq!(f.outcome("release_session(pg_temp.nth(3))").await, "released");

    // Registered but not counted yet: nobody is admitted by the wrong count, nobody released.
    f.outcome("put_keypair('AK', 'u1', 'open', false, 'd1')").await;
    assert_eq!(findings(&f).await, ["key_use keypair AK"]);
    let admission = f.reserve(&request(6, "AK", &[("i-01", json!({"cpu": 1}))])).await;
    assert_eq!(admission["code"], "key_inactive");
    let release = "select occupancy.release_session(pg_temp.nth(1))";
    assert_eq!(f.unchanged(f.refused(release, &[])).await, "OC010");

    let corrections = recalculate(&f, &["recalc_concurrency('AK')"]).await;
    assert_eq!(subjects(&corrections), ["keypair AK"]);
    assert_eq!(f.key("AK").await, (before.0, 0, before.2), "as before, but for session 3");
    f.assert_sound().await;
    f.outcome("put_keypair('AK', 'u1', 'open', true, 'd1')").await;
    let admission = f.reserve(&request(6, "AK", &[("i-01", json!({"cpu": 1}))])).await;
    assert_eq!((&admission["outcome"], &admission["used"]), (&json!("admitted"), &json!(2)));
    f.assert_sound().await;
}

#[tokio::test]
async fn an_agent_that_was_deleted_by_hand_counts_its_kernels_again_once_it_is_registered() {
    // Nobody knows any more how large it was. Meanwhile a session that runs there can be released,
    // and gives back what it holds elsewhere.
    let f = running().await;
    f.run("delete from occupancy.agent where agent_id = 'i-01'").await;
    let found = [11, 41].map(|n| format!("kernel_has_agent kernel {n}"));
    assert_eq!(findings(&f).await, found);
    let remedy = "occupancy.put_agent('i-01', …, schedulable => false), \
                  then select * from occupancy.recalc_agent('i-01')";
    assert_eq!(remedies(&f).await, [remedy; 2]);
    assert_eq!(f.unchanged(recalculate(&f, &FULL_SCANS)).await, [] as [Value; 0]);
    assert_eq!(f.outcome("release_session(pg_temp.nth(1))").await, "released");
    assert_eq!(f.occupied("i-02").await, json!({}));
    assert_eq!(findings(&f).await, [found[1].as_str()]);

    // Registered but not counted yet: nothing is placed on it, nothing released from it.
    f.outcome("put_agent('i-01', '{\"cpu\": 2}', 'g1', schedulable => false)").await;
    assert_eq!(findings(&f).await, ["agent_use agent i-01"]);
    let more = request(6, "AK", &[("i-01", json!({"cpu": 1}))]);
    assert_eq!(f.reserve(&more).await["code"], "agent_unavailable");
    let release = "select occupancy.release_session(pg_temp.nth(4))";
    assert_eq!(f.unchanged(f.refused(release, &[])).await, "OC010");

    let corrections = recalculate(&f, &["recalc_agent('i-01')"]).await;
    assert_eq!(subjects(&corrections), ["agent i-01"]);
    assert_eq!(f.occupied("i-01").await, json!({"cpu": "1.5"}));
    f.assert_sound().await;
    f.outcome("put_agent('i-01', schedulable => true)").await;
    assert_eq!(f.reserve(&more).await["code"], "agent_capacity", "1.5 of 2 are occupied");
    assert_eq!(f.outcome("release_session(pg_temp.nth(4))").await, "released");
    f.assert_sound().await;
}

#[tokio::test]
async fn a_session_that_lost_its_last_kernel_is_mended_by_its_release() {
    let f = running().await;
    f.run("delete from occupancy.kernel where kernel_id = pg_temp.nth(21)").await;
    assert_eq!(findings(&f).await, ["agent_use agent i-03", "session_has_kernel session 2"]);
    assert_eq!(recalculate(&f, &["recalc_agent('i-03')"]).await.len(), 1);
    let remedy = format!("select * from occupancy.release_session('{}')", id(2));
    assert_eq!(remedies(&f).await, [remedy.as_str()]);
    f.run(&remedy).await;
    f.assert_sound().await;
}

#[tokio::test]
async fn what_a_deleted_key_or_agent_left_behind_can_be_cleared_away() {
    // A slot of a key and a kernel on an agent that nobody has registered, of sessions that do not
    // exist: there is no counter to be wrong, and yet the audit would name them for ever.
    let f = running().await;
    let whole = f.snapshot().await;
    let leave = "set role occupancy_owner;
                 insert into occupancy.session_concurrency values ('gone', pg_temp.nth(9), false);
                 reset role;
                 insert into occupancy.kernel values
                   (pg_temp.nth(91), pg_temp.nth(9), 1, false, 'gone', '{\"cpu\": \"2\"}', null, null)";
    let found = [
        "kernel_has_agent kernel 91",
        "kernel_has_session kernel 91",
        "slot_of_session session_concurrency 9",
    ];
    let narrow = ["recalc_concurrency('gone')", "recalc_agent('gone')"];
    for mended_by in [&narrow[..], &FULL_SCANS] {
        f.run(leave).await;
        let left = f.snapshot().await;
        assert_eq!(findings(&f).await, found);
        let corrections = recalculate(&f, mended_by).await;
        assert_eq!(subjects(&corrections), ["session_concurrency 9", "kernel 91"]);
        assert_told(&left, &f.snapshot().await, &corrections);
        f.assert_sound().await;
        f.run("delete from occupancy.kernel where kernel_id = pg_temp.nth(91)").await;
        assert_eq!(f.snapshot().await, whole);
    }
    for call in narrow {
        let code = f.refused(&format!("select occupancy.{call}"), &[]).await;
        assert!(["OC002", "OC003"].contains(&code.as_str()), "nobody knows it any more: {code}");
    }
}

#[tokio::test]
async fn a_recalculation_of_what_is_right_corrects_nothing() {
    let f = running().await;
    let calls = [
        "recalc_concurrency('AK')",
        "recalc_concurrency('BK')",
        "recalc_agent('i-01')",
        "recalc_agents_by_session(pg_temp.nth(1))",
        "recalc_agents_by_session(pg_temp.nth(5))",
        "recalc_quota('user', 'u1')",
        FULL_SCANS[0],
        FULL_SCANS[1],
        FULL_SCANS[2],
    ];
    assert_eq!(f.unchanged(recalculate(&f, &calls)).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_counter_that_contradicts_the_ledger_stops_a_release_until_it_is_mended() {
    let f = running().await;
    let damages = [
        ("update occupancy.agent set occupied_slots = '{}' where agent_id = 'i-01'", FULL_SCANS[1]),
        (
            "update occupancy.keypair set occupied_slots = '{}' where access_key = 'AK'",
            FULL_SCANS[0],
        ),
        ("update occupancy.keypair set compute_used = 0 where access_key = 'AK'", FULL_SCANS[0]),
        ("update occupancy.quota set occupied_slots = '{}' where scope = 'user'", FULL_SCANS[2]),
        ("update occupancy.quota set used = 0 where scope = 'user'", FULL_SCANS[2]),
    ];
    let releases = [
        "select occupancy.release_session($1)",
        "select occupancy.release_sessions(array[$1::uuid])",
    ];
    for (damage, mended_by) in damages {
        f.run(damage).await;
        for release in releases {
            let code = f.unchanged(f.refused(release, &[&id(1)])).await;
            assert_eq!(code, "OC010", "{release} after {damage}");
        }
        assert_eq!(recalculate(&f, &[mended_by]).await.len(), 1);
    }
    assert_eq!(f.outcome("release_session(pg_temp.nth(1))").await, "released");
    f.assert_sound().await;
}

#[tokio::test]
async fn a_mistake_in_a_recalculation_is_refused_and_changes_nothing() {
    let f = running().await;
    let mistakes = [
        ("recalc_concurrency('nobody')", "OC002"),
        ("recalc_concurrency(null)", "OC005"),
        ("recalc_concurrency('')", "OC005"),
        ("recalc_agent('nowhere')", "OC003"),
        ("recalc_agent(null)", "OC005"),
        ("recalc_agents_by_session(gen_random_uuid())", "OC004"),
        ("recalc_agents_by_session(null)", "OC005"),
        ("recalc_quota('user', 'nobody')", "OC005"),
        ("recalc_quota('user', null)", "OC005"),
        ("recalc_quota(null, 'u1')", "OC005"),
        ("recalc_quota('keypair', 'AK')", "OC005"),
    ];
    f.unchanged(async {
        for (call, code) in mistakes {
            assert_eq!(f.refused(&format!("select occupancy.{call}"), &[]).await, code, "{call}");
        }
    })
    .await;
}
