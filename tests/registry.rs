//! The registry: keys, policies, quotas, agents, and how a changed limit binds.

use serde_json::{Value, json};

use crate::support::fixture::{Fixture, each, id, request, with};

/// One session of one cpu on `i-01`.
fn one(session: u128, key: &str) -> Value {
    request(session, key, &[("i-01", json!({"cpu": 1}))])
}

async fn agent(f: &Fixture, agent: &str) -> Value {
    let sql = "select resource_group, status, schedulable, available_slots
                 from occupancy.agent_occupancy where agent_id = $1";
    f.row(sql, &[&agent]).await
}

#[tokio::test]
async fn what_is_put_is_created_then_replaced_then_dropped() {
    let f = Fixture::new().await;
    let entries = [
        ("put_resource_policy('p')", "drop_resource_policy('p')"),
        ("put_keypair('k', 'u', 'open')", "drop_keypair('k')"),
        ("put_quota('project', 'x')", "drop_quota('project', 'x')"),
        ("put_agent('a', '{}')", "drop_agent('a')"),
    ];
    for (put, drop) in entries {
        assert_eq!(f.outcome(drop).await, "unknown", "{drop}");
        assert_eq!(f.outcome(put).await, "created", "{put}");
        assert_eq!(f.outcome(put).await, "replaced", "{put}");
        assert_eq!(f.outcome(drop).await, "dropped", "{drop}");
        assert_eq!(f.outcome(drop).await, "unknown", "{drop}");
    }
}

#[tokio::test]
async fn what_is_in_use_stays_until_it_is_free() {
    let f = Fixture::new().await;
    f.run("select occupancy.put_quota('user', 'u1')").await;
    f.reserve(&one(1, "AK")).await;
    f.unchanged(async {
        for drop in [
            "drop_resource_policy('open')",
            "drop_keypair('AK')",
            "drop_quota('user', 'u1')",
            "drop_agent('i-01')",
        ] {
            assert_eq!(f.outcome(drop).await, "in_use", "{drop}");
        }
        assert_eq!(f.outcome("drop_quota('user', 'u2')").await, "unknown");
    })
    .await;
    f.outcome(&format!("terminate_session('{}')", id(1))).await;
    assert_eq!(f.outcome("drop_quota('user', 'u1')").await, "dropped");
    // A session that is terminating still occupies its agent, and its key must be there to end it.
    assert_eq!(f.outcome("drop_keypair('AK')").await, "in_use");
    assert_eq!(f.outcome("drop_agent('i-01')").await, "in_use");
    f.outcome(&format!("release_session('{}')", id(1))).await;
    assert_eq!(f.outcome("drop_keypair('AK')").await, "dropped");
    assert_eq!(f.outcome("drop_agent('i-01')").await, "dropped");
    f.assert_sound().await;
}

#[tokio::test]
async fn a_mistake_in_the_registry_is_refused_and_changes_nothing() {
    let f = Fixture::new().await;
    let long = "x".repeat(257);
    let million = "x".repeat(1_000_000);
    let mut mistakes: Vec<String> = [
        "put_resource_policy('p', -1)",
        "put_resource_policy('p', max_concurrent_system_sessions => -1)",
        "put_resource_policy('p', max_pending_sessions => -1)",
        "put_resource_policy('p', max_kernels_per_session => -1)",
        "put_resource_policy('p', default_for_unspecified => null)",
        "put_resource_policy('p', default_for_unspecified => 'limited')",
        "put_keypair('k', 'u', 'no such policy')",
        "put_keypair('k', 'u', 'open', null)",
        "put_quota('user', 'u', -1)",
        "put_quota('user', 'u', default_for_unspecified => null)",
        "put_quota('user', 'u', default_for_unspecified => '')",
        "put_quota('keypair', 'AK')",
        "put_quota('User', 'u')",
        "put_quota(null, 'u')",
        "drop_quota('agent', 'i-01')",
        "drop_quota(null, 'u')",
        "put_agent('new')",
        "put_agent('new', status => 'LOST')",
        "put_agent('i-01', status => 'alive')",
        "put_agent('i-01', status => '')",
        "put_agent('i-01', status => 'DRAINED')",
    ]
    .map(str::to_owned)
    .into();
    for name in ["null", "''", &format!("'{long}'"), &format!("'{million}'")] {
        mistakes.extend([
            format!("put_resource_policy({name})"),
            format!("put_keypair({name}, 'u', 'open')"),
            format!("put_keypair('k', {name}, 'open')"),
            format!("put_keypair('k', 'u', {name})"),
            format!("put_quota('user', {name})"),
            format!("put_agent({name}, '{{}}')"),
            format!("drop_resource_policy({name})"),
            format!("drop_keypair({name})"),
            format!("drop_quota('user', {name})"),
            format!("drop_agent({name})"),
        ]);
    }
    for name in ["''", &format!("'{long}'")] {
        mistakes.push(format!("put_keypair('k', 'u', 'open', domain => {name})"));
        mistakes.push(format!("put_agent('a', '{{}}', {name})"));
    }
    f.unchanged(async {
        for call in &mistakes {
            let code = f.refused(&format!("select occupancy.{call}"), &[]).await;
            assert_eq!(code, "OC005", "{call:.80}");
        }
    })
    .await;
}

#[tokio::test]
async fn null_means_unlimited_in_every_limit() {
    let f = Fixture::new().await;
    let nulls = "null, null, null, 'LIMITED', null, null, null";
    assert_eq!(f.outcome(&format!("put_resource_policy('open', {nulls})")).await, "replaced");
    f.outcome("put_quota('user', 'u1', null, null, 'LIMITED')").await;
    f.outcome("put_quota('domain', 'd1', null, null, 'LIMITED')").await;
    // JSON's null is an amount like any other malformed one.
    let json_null = "select occupancy.put_quota('domain', 'd1', null, 'null', 'LIMITED')";
    assert_eq!(f.unchanged(f.refused(json_null, &[])).await, "OC001");
    let answer = f.reserve(&one(1, "AK")).await;
    assert_eq!((&answer["outcome"], &answer["max"]), (&json!("admitted"), &Value::Null));
}

#[tokio::test]
async fn a_heartbeat_keeps_what_it_does_not_name() {
    let f = Fixture::new().await;
    f.outcome("put_agent('a', '{\"cpu\": 2}')").await;
    let new = json!({"resource_group": "default", "status": "ALIVE", "schedulable": true,
                     "available_slots": {"cpu": "2"}});
    assert_eq!(agent(&f, "a").await, new);
    let calls = [
        ("put_agent('a')", json!({})),
        ("put_agent('a', null, null, null, null)", json!({})),
        ("put_agent('a', resource_group => 'g')", json!({"resource_group": "g"})),
        ("put_agent('a', schedulable => false)", json!({"schedulable": false})),
        ("put_agent('a', '{\"cpu\": 3, \"mem\": 0}')", json!({"available_slots": {"cpu": "3"}})),
        ("put_agent('a', status => 'LOST')", json!({"status": "LOST"})),
        ("put_agent('a', status => 'RESTARTING')", json!({"status": "RESTARTING"})),
        ("put_agent('a', status => 'TERMINATED')", json!({"status": "TERMINATED"})),
        // It is there again, and still drained.
        ("put_agent('a')", json!({"status": "ALIVE"})),
        ("put_agent('a', schedulable => true)", json!({"schedulable": true})),
    ];
    let mut expected = new;
    for (call, change) in calls {
        f.outcome(call).await;
        expected = with(expected, change);
        assert_eq!(agent(&f, "a").await, expected, "{call}");
    }
}

#[tokio::test]
async fn a_heartbeat_never_undoes_a_drain_nor_touches_what_is_occupied() {
    let f = Fixture::new().await;
    f.reserve(&one(1, "AK")).await;
    f.outcome("put_agent('i-01', schedulable => false)").await;
    for heartbeat in ["put_agent('i-01')", "put_agent('i-01', '{\"cpu\": 64}', 'g1', 'ALIVE')"] {
        f.outcome(heartbeat).await;
        assert_eq!(agent(&f, "i-01").await["schedulable"], false);
        assert_eq!(f.occupied("i-01").await, json!({"cpu": "1"}));
        let answer = f.reserve(&one(2, "AK")).await;
        assert_eq!(answer["code"], "agent_unavailable");
    }
    f.assert_sound().await;
}

#[tokio::test]
async fn only_an_agent_that_is_alive_and_schedulable_is_given_more() {
    let f = Fixture::new().await;
    for (n, status) in (1..).zip(["LOST", "RESTARTING", "TERMINATED", "ALIVE"]) {
        f.outcome(&format!("put_agent('i-01', status => '{status}')")).await;
        let answer = f.reserve(&one(n, "AK")).await;
        let expected = if status == "ALIVE" { "null" } else { "agent_unavailable" };
        assert_eq!(each(&[answer], "code"), [expected], "{status}");
    }
}

#[tokio::test]
async fn a_changed_limit_binds_the_next_call() {
    let f = Fixture::new().await;
    // Each change is followed by one request of one cpu in project x: its code, or admitted.
    let steps = [
        ("put_resource_policy('open', 0)", "concurrency_limit"),
        ("put_resource_policy('open', 1)", ""),
        ("put_resource_policy('open')", ""),
        ("put_resource_policy('open', max_kernels_per_session => 0)", "kernels_per_session"),
        ("put_resource_policy('open', total_resource_slots => '{}')", "keypair_quota"),
        ("put_resource_policy('open', null, null, '{}', 'UNLIMITED')", ""),
        ("put_resource_policy('open', null, null, '{\"cpu\": 3}', 'UNLIMITED')", "keypair_quota"),
        ("put_resource_policy('open', null, null, '{\"cpu\": \"Infinity\"}')", ""),
        ("put_resource_policy('narrow', 2)", ""),
        ("put_keypair('AK', 'u1', 'narrow')", "concurrency_limit"),
        ("put_keypair('AK', 'u1', 'open', false)", "key_inactive"),
        ("put_keypair('AK', 'u1', 'open', domain => 'd1')", ""),
        ("put_quota('user', 'u1', 6)", "user_quota"),
        ("put_quota('user', 'u1', 7)", ""),
        ("drop_quota('user', 'u9')", "user_quota"),
        ("put_keypair('AK', 'u9', 'open', domain => 'd1')", ""),
        ("put_quota('domain', 'd1', null, '{\"cpu\": 7}')", "domain_quota"),
        ("put_quota('domain', 'd1', null, '{}')", ""),
        ("put_quota('project', 'x', 0)", "project_quota"),
        ("put_quota('project', 'x')", ""),
    ];
    for (n, (change, code)) in (1..).zip(steps) {
        f.outcome(change).await;
        let request = with(one(n, "AK"), json!({"project": "x"}));
        let request = with(request, json!({"kernels": [{"agent": "i-02", "slots": {"cpu": 1}}]}));
        let expected = if code.is_empty() { json!(null) } else { json!(code) };
        f.run("select occupancy.put_agent('i-02', '{\"cpu\": 99}')").await;
        assert_eq!(f.reserve(&request).await["code"], expected, "step {n}: {change}");
        f.assert_sound().await;
    }
}

#[tokio::test]
async fn lowering_a_limit_below_use_evicts_nobody_and_admits_nobody() {
    let f = Fixture::new().await;
    let lowered = [
        ("put_resource_policy('open', 1)", "concurrency_limit"),
        ("put_resource_policy('open', total_resource_slots => '{\"cpu\": 1}')", "keypair_quota"),
        ("put_quota('user', 'u1', 1)", "user_quota"),
        ("put_quota('user', 'u1', null, '{\"cpu\": \"0.5\"}')", "user_quota"),
        ("put_quota('resource_group', 'g1', 1)", "resource_group_quota"),
        ("put_agent('i-01', '{\"cpu\": 1}')", "agent_capacity"),
        ("put_agent('i-01', '{}')", "agent_capacity"),
    ];
    let restore = "select occupancy.put_resource_policy('open');
                   select occupancy.put_quota('user', 'u1');
                   select occupancy.put_quota('resource_group', 'g1');
                   select occupancy.put_agent('i-01', '{\"cpu\": 8}');";
    for (round, (lower, code)) in (0..).zip(lowered) {
        f.run(restore).await;
        let ids = [1, 2, 3].map(|n| 10 * round + n);
        for n in ids {
            assert_eq!(f.reserve(&one(n, "AK")).await["outcome"], "admitted");
        }
        let sessions = f.rows("select * from occupancy.sessions", &[]).await;
        f.outcome(lower).await;
        assert_eq!(f.rows("select * from occupancy.sessions", &[]).await, sessions, "{lower}");
        f.assert_sound().await;
        for n in ids {
            // As long as more runs than the limit has room for.
            assert_eq!(f.reserve(&one(9 + 10 * round, "AK")).await["code"], code, "{lower}");
            let release = format!("release_session('{}')", id(n));
            assert_eq!(f.outcome(&release).await, "released", "{lower}");
            f.assert_sound().await;
        }
        assert_eq!(f.occupied("i-01").await, json!({}));
    }
}

#[tokio::test]
async fn a_quota_that_is_created_counts_the_sessions_that_live() {
    let f = Fixture::new().await;
    for n in 1..=3 {
        f.reserve(&with(one(n, "AK"), json!({"project": "x"}))).await;
    }
    f.reserve(&with(one(4, "BK"), json!({"project": "y"}))).await;
    f.reserve(&with(one(5, "AK"), json!({"project": "x", "session_type": "system"}))).await;
    f.reserve(&one(6, "AK2")).await;
    f.outcome(&format!("terminate_session('{}')", id(2))).await;
    f.outcome(&format!("release_session('{}')", id(3))).await;
    let counts = [
        ("project", "x", 1),
        ("project", "y", 1),
        ("user", "u1", 2),
        ("user", "u2", 1),
        ("domain", "d1", 3),
        ("resource_group", "g1", 3),
        ("resource_group", "g2", 0),
    ];
    for (scope, scope_id, count) in counts {
        f.outcome(&format!("put_quota('{scope}', '{scope_id}', 0)")).await;
        let slots = if count == 0 { json!({}) } else { json!({"cpu": count.to_string()}) };
        assert_eq!(f.quota(scope, scope_id).await, (count, slots), "{scope} {scope_id}");
    }
    f.assert_sound().await;
}

#[tokio::test]
async fn a_session_stays_charged_to_whom_it_was_admitted_for() {
    let f = Fixture::new().await;
    for quota in ["'user', 'u1'", "'user', 'u9'", "'domain', 'd1'", "'domain', 'd9'"] {
        f.outcome(&format!("put_quota({quota})")).await;
    }
    f.run("select occupancy.put_quota('resource_group', 'g1')").await;
    f.reserve(&one(1, "AK")).await;
    f.outcome("put_keypair('AK', 'u9', 'open', domain => 'd9')").await;
    f.outcome("put_agent('i-01', resource_group => 'g9')").await;
    let charged = (1, json!({"cpu": "1"}));
    for (scope, scope_id) in [("user", "u1"), ("domain", "d1"), ("resource_group", "g1")] {
        assert_eq!(f.quota(scope, scope_id).await, charged, "{scope} {scope_id}");
    }
    f.assert_sound().await;
    f.outcome(&format!("release_session('{}')", id(1))).await;
    for scope_id in ["u1", "u9"] {
        assert_eq!(f.quota("user", scope_id).await, (0, json!({})));
    }
    f.assert_sound().await;
}

#[tokio::test]
async fn any_text_of_1_to_256_characters_is_just_a_name() {
    let f = Fixture::new().await;
    let longest = "é".repeat(256);
    let names = [
        "x",
        "O'Brien",
        "a; drop table occupancy.session; --",
        "\"quoted\" $1 %s %% \\ {}",
        "Größe 名前 🚀 \u{202e}",
        " \t\n",
        "null",
        &longest,
    ];
    let name_all = "
        select occupancy.put_resource_policy($1, 1)
        union all select occupancy.put_keypair($1, $1, $1, true, $1)
        union all select occupancy.put_quota(s.scope, $1, 1)
          from unnest(array['user', 'project', 'resource_group', 'domain']) as s (scope)
        union all select occupancy.put_agent($1, '{\"cpu\": 2}', $1)";
    let drop_all = "
        select occupancy.drop_keypair($1)
        union all select occupancy.drop_resource_policy($1)
        union all select occupancy.drop_quota(s.scope, $1)
          from unnest(array['user', 'project', 'resource_group', 'domain']) as s (scope)
        union all select occupancy.drop_agent($1)";
    for (n, name) in (1..).step_by(2).zip(names) {
        let put = f.client.query(name_all, &[&name]).await;
        assert_eq!(put.expect("names are accepted").len(), 7, "{name}");
        let session =
            |n| with(request(n, name, &[(name, json!({"cpu": 1}))]), json!({"project": name}));
        let answer = f.reserve(&session(n)).await;
        assert_eq!(answer["outcome"], "admitted", "{name}");
        assert_eq!(
            (&answer["access_key"], &answer["kernels"][0]["agent"]),
            (&json!(name), &json!(name))
        );
        assert_eq!(f.reserve(&session(n)).await["outcome"], "already_admitted", "{name}");
        assert_eq!(f.reserve_all(&[session(n + 1)]).await[0]["code"], "concurrency_limit");
        let checked = f.check(&session(n + 1)).await;
        let failed = checked.iter().filter(|row| row["passed"] == false).count();
        assert_eq!(failed, 5, "the key and four quotas: {checked:?}");
        for scope in ["user", "project", "resource_group", "domain"] {
            assert_eq!(f.quota(scope, name).await, (1, json!({"cpu": "1"})));
        }
        f.row("select occupancy.clear_concurrency($1)", &[&name]).await;
        assert_eq!(f.occupied(name).await, json!({}));
        f.assert_sound().await;
        let dropped = f.client.query(drop_all, &[&name]).await;
        assert_eq!(dropped.expect("names are accepted").len(), 7, "{name}");
        let left = "select count(*) from occupancy.quotas where scope_id = $1";
        assert_eq!(f.row(left, &[&name]).await["count"], 0);
    }
}
