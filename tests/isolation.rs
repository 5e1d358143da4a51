//! Callers with a transaction of their own: old snapshots, savepoints, rollbacks.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::support::platform::{
    Call, Platform, ask, release, release_batch, release_kernel, reserve, reserve_batch, settle,
    sqlstate, terminate,
};

/// The isolation levels in which a snapshot is as old as the transaction.
const OLD_SNAPSHOTS: [&str; 2] = ["repeatable read", "serializable"];

/// A caller takes its snapshot, somebody else does something, and then the caller calls.
struct Stale<'a> {
    /// What is there before.
    given: &'a str,
    /// What happens after the snapshot was taken.
    meanwhile: &'a str,
    /// What the caller asks.
    call: &'a str,
    /// The answers that are right now. "Try again" and "not in this isolation level" always are.
    right: &'a [&'a str],
}

/// The session and the kernels that the stories are about.
const IDS: [(&str, &str); 4] = [
    ("$S", "'00000000-0000-4000-8000-000000000001'::uuid"),
    ("$K1", "'00000000-0000-4000-8000-000000000011'::uuid"),
    ("$K2", "'00000000-0000-4000-8000-000000000012'::uuid"),
    (
        "$KERNELS",
        "'[{\"kernel_id\": \"00000000-0000-4000-8000-000000000011\", \"agent\": \"a1\", \"slots\": {\"cpu\": 1}},
           {\"kernel_id\": \"00000000-0000-4000-8000-000000000012\", \"agent\": \"a2\", \"slots\": {\"cpu\": 1}}]'::jsonb",
    ),
];

/// Writes the ids out. The longest name first: `$K` begins `$KERNELS`.
fn spell(sql: &str) -> String {
    IDS.iter().rev().fold(sql.to_owned(), |sql, (name, value)| sql.replace(name, value))
}

/// A key of which one session may run, an agent on which two fit, and somebody else.
const REGISTRY: &str = r#"
    truncate occupancy.session, occupancy.session_concurrency, occupancy.kernel, occupancy.quota,
             occupancy.agent, occupancy.keypair, occupancy.resource_policy;
    select occupancy.put_resource_policy('student', 1, 1);
    select occupancy.put_resource_policy('other', 100);
    select occupancy.put_keypair('AK', 'alice', 'student', domain => 'campus');
    select occupancy.put_keypair('BK', 'bob', 'other', domain => 'campus');
    select occupancy.put_agent('a1', '{"cpu": 2}');
    select occupancy.put_agent('a2', '{"cpu": 2}');"#;

/// Where one story after the other is played.
struct Stage {
    platform: Platform,
    caller: Client,
}

impl Stage {
    async fn new() -> Self {
        let platform = Platform::new("").await;
        Self { caller: platform.db.connect().await, platform }
    }

    async fn play(&self, story: Stale<'_>) {
        for level in OLD_SNAPSHOTS {
            self.play_at(level, &story).await;
        }
    }

    async fn play_at(&self, level: &str, story: &Stale<'_>) {
        let Self { platform, caller } = self;
        platform.run(REGISTRY).await;
        platform.run(&spell(story.given)).await;
        // The snapshot is taken by the first statement that reads, not by `begin`.
        let begin = format!("begin isolation level {level}; select from pg_class limit 1");
        caller.batch_execute(&begin).await.expect("a transaction can begin");
        platform.run(&spell(story.meanwhile)).await;

        let call = spell(story.call);
        let answer = ask(caller, &call).await;
        let seen = match sqlstate(&answer) {
            Some(code) => code.to_owned(),
            None => answer.expect("no error").unwrap_or_default(),
        };
        // A serializable transaction may learn only now that it has to begin again.
        let _ = caller.batch_execute("commit").await;
        let right = ["40001", "OC008"].iter().chain(story.right).any(|right| *right == seen);
        assert!(right, "{level}: after {}\n{call}\nanswered {seen}", story.meanwhile);
        platform.assert_sound().await;
    }
}

/// Reserves $S for AK, alone or as a batch of one.
const RESERVATIONS: [&str; 2] = [
    "select outcome || coalesce(' ' || code, '')
       from occupancy.reserve_session($S, 'AK', $KERNELS, project => 'vision')",
    "select outcome || coalesce(' ' || code, '')
       from occupancy.reserve_sessions(jsonb_build_array(jsonb_build_object(
         'session_id', $S, 'access_key', 'AK', 'kernels', $KERNELS, 'project', 'vision')))",
];

/// Another session of the key, on both agents.
const ANOTHER: &str = r#"select occupancy.reserve_session(gen_random_uuid(), 'AK',
    '[{"agent": "a1", "slots": {"cpu": 1}}, {"agent": "a2", "slots": {"cpu": 1}}]');"#;

/// The session of the stories, as the calls above reserve it.
const RESERVED: &str = "select occupancy.reserve_session($S, 'AK', $KERNELS, project => 'vision');";

impl Stage {
    async fn reservations(&self, given: &str, meanwhile: &str, right: &[&str]) {
        for call in RESERVATIONS {
            self.play(Stale { given, meanwhile, call, right }).await;
        }
    }
}

#[tokio::test]
async fn an_old_snapshot_admits_nobody_beyond_a_limit() {
    let stage = Stage::new().await;
    // The caller's snapshot shows room. By the time it calls, somebody took the room or closed it.
    stage.reservations("", ANOTHER, &["rejected concurrency_limit"]).await;
    for (meanwhile, right) in [
        ("select occupancy.put_resource_policy('student', 0)", "rejected concurrency_limit"),
        ("select occupancy.put_resource_policy('student', 1, 1, '{}')", "rejected keypair_quota"),
        (
            "select occupancy.put_resource_policy('none', 0);
             select occupancy.put_keypair('AK', 'alice', 'none', domain => 'campus')",
            "rejected concurrency_limit",
        ),
        (
            "select occupancy.put_keypair('AK', 'alice', 'student', is_active => false)",
            "rejected key_inactive",
        ),
        ("select occupancy.put_quota('user', 'alice', 0)", "rejected user_quota"),
        ("select occupancy.put_quota('project', 'vision', 0)", "rejected project_quota"),
        (
            "select occupancy.put_quota('resource_group', 'default', 0)",
            "rejected resource_group_quota",
        ),
        ("select occupancy.put_quota('domain', 'campus', 0)", "rejected domain_quota"),
        ("select occupancy.put_agent('a2', schedulable => false)", "rejected agent_unavailable"),
        ("select occupancy.put_agent('a2', status => 'LOST')", "rejected agent_unavailable"),
        ("select occupancy.put_agent('a2', '{}')", "rejected agent_capacity"),
        (
            r#"select occupancy.reserve_session(gen_random_uuid(), 'BK',
                 '[{"agent": "a1", "slots": {"cpu": 2}}]')"#,
            "rejected agent_capacity",
        ),
    ] {
        stage.reservations("", meanwhile, &[right]).await;
    }
}

#[tokio::test]
async fn an_old_snapshot_admits_nobody_beyond_a_quota_that_it_knows() {
    let stage = Stage::new().await;
    // The quota was there before, with room for one more, which somebody else of the scope takes.
    let given = "select occupancy.put_quota('domain', 'campus', 1)";
    let bob = r#"select occupancy.reserve_session(gen_random_uuid(), 'BK',
        '[{"agent": "a1", "slots": {"cpu": "0.5"}}]')"#;
    stage.reservations(given, bob, &["rejected domain_quota"]).await;
    let lowered = "select occupancy.put_quota('domain', 'campus', 0)";
    stage.reservations(given, lowered, &["rejected domain_quota"]).await;
    let dropped = "select occupancy.drop_quota('domain', 'campus')";
    stage.reservations(given, dropped, &["admitted"]).await;
    // The key moves to a user whose quota is full.
    let given = "select occupancy.put_quota('user', 'carol', 0)";
    let moved = "select occupancy.put_keypair('AK', 'carol', 'student')";
    stage.reservations(given, moved, &["rejected user_quota"]).await;
}

#[tokio::test]
async fn an_old_snapshot_rejects_nobody_for_a_limit_that_is_gone() {
    let stage = Stage::new().await;
    // The other way round: the snapshot shows a full key, agent or quota, and there is room by now.
    let full = "select occupancy.put_resource_policy('student', 0)";
    let raised = "select occupancy.put_resource_policy('student', 1)";
    stage.reservations(full, raised, &["admitted"]).await;
    let freed = "select occupancy.clear_concurrency('AK')";
    stage.reservations(ANOTHER, freed, &["admitted"]).await;
    let (small, grown) = (
        "select occupancy.put_agent('a1', '{}')",
        r#"select occupancy.put_agent('a1', '{"cpu": 2}')"#,
    );
    stage.reservations(small, grown, &["admitted"]).await;
    let (closed, open) = (
        "select occupancy.put_quota('user', 'alice', 0)",
        "select occupancy.put_quota('user', 'alice', 1)",
    );
    stage.reservations(closed, open, &["admitted"]).await;
}

#[tokio::test]
async fn an_old_snapshot_knows_what_became_of_an_id() {
    let stage = Stage::new().await;
    // Somebody else sends the same reservation, or ends the session, after the snapshot.
    stage.reservations("", RESERVED, &["already_admitted"]).await;
    let released = "select occupancy.release_session($S)";
    stage.reservations("", released, &["rejected session_ended"]).await;
    stage.reservations(RESERVED, released, &["rejected session_ended"]).await;
    let terminated = "select occupancy.terminate_session($S)";
    stage.reservations(RESERVED, terminated, &["rejected session_ended"]).await;
    let pruned = "select occupancy.prune_ended('0')";
    stage.reservations(released, pruned, &["admitted"]).await;
    // Nothing that concerns the id: the repeat is recognised, though the key has changed.
    let moved = "select occupancy.put_agent('a1', schedulable => false)";
    stage.reservations(RESERVED, moved, &["already_admitted"]).await;
}

#[tokio::test]
async fn an_old_snapshot_finds_dropped_keys_and_agents_unknown() {
    let stage = Stage::new().await;
    stage
        .reservations("", "select occupancy.drop_keypair('AK')", &["OC002", "invalid OC002"])
        .await;
    stage.reservations("", "select occupancy.drop_agent('a2')", &["OC003", "invalid OC003"]).await;
    let regrouped = "select occupancy.put_agent('a2', resource_group => 'other')";
    stage.reservations("", regrouped, &["OC005", "invalid OC005"]).await;
}

/// Everything that can happen to the session of the stories, or around it.
const EVENTS: [&str; 12] = [
    "select occupancy.release_session($S)",
    "select occupancy.release_sessions(array[$S])",
    "select occupancy.terminate_session($S)",
    "select occupancy.release_kernel($K1)",
    "select occupancy.release_kernel($K2)",
    "select occupancy.release_kernel($K1), occupancy.release_kernel($K2)",
    "select occupancy.settle_kernel($K1, '{\"cpu\": \"0.5\"}')",
    "select occupancy.settle_kernel($K2, '{\"mem\": \"1g\"}')",
    "select occupancy.put_quota('user', 'alice')",
    "select occupancy.put_agent('a1', '{\"cpu\": 1}', status => 'LOST')",
    "select occupancy.put_resource_policy('student', 2); select occupancy.reserve_session(
       gen_random_uuid(), 'AK', '[{\"agent\": \"a1\", \"slots\": {\"cpu\": 1}}]')",
    "select occupancy.put_keypair('AK', 'bob', 'other')",
];

impl Stage {
    /// The call of a stale caller after every event, in either state of the session.
    async fn endings(&self, call: &str, right: &[&str]) {
        let quota = "select occupancy.put_quota('project', 'vision');";
        for state in ["", "select occupancy.terminate_session($S)"] {
            let given = &format!("{quota} {RESERVED} {state}");
            for meanwhile in EVENTS {
                self.play(Stale { given, meanwhile, call, right }).await;
            }
        }
    }
}

#[tokio::test]
async fn an_old_snapshot_releases_once() {
    let stage = Stage::new().await;
    let right = &["released", "already_released"];
    stage.endings("select outcome from occupancy.release_session($S)", right).await;
    stage.endings("select outcome from occupancy.release_sessions(array[$S])", right).await;
}

#[tokio::test]
async fn an_old_snapshot_terminates_once() {
    let stage = Stage::new().await;
    let right = &["terminating", "already_terminating", "already_released"];
    stage.endings("select outcome from occupancy.terminate_session($S)", right).await;
}

#[tokio::test]
async fn an_old_snapshot_frees_a_kernel_once() {
    let stage = Stage::new().await;
    let call = "select outcome from occupancy.release_kernel($K1)";
    stage.endings(call, &["released", "already_released"]).await;
}

#[tokio::test]
async fn an_old_snapshot_knows_the_last_kernel_of_a_terminating_session() {
    // Two agents report the end of a kernel each. The session is terminating and holds neither slot
    // nor quota, so that the two touch no row in common but the session's own. If both take the
    // other's kernel for alive, the session never ends.
    let stage = Stage::new().await;
    let given = &format!("{RESERVED} select occupancy.terminate_session($S)");
    let call = "select outcome || session_ended from occupancy.release_kernel($K1)";
    for meanwhile in
        ["select occupancy.release_kernel($K2)", "select occupancy.release_kernel($K1)"]
    {
        let right = &["releasedtrue", "already_releasedfalse"];
        stage.play(Stale { given, meanwhile, call, right }).await;
    }
}

#[tokio::test]
async fn an_old_snapshot_settles_what_is_there() {
    let stage = Stage::new().await;
    let call = "select outcome from occupancy.settle_kernel($K1, '{\"cpu\": 3}')";
    stage.endings(call, &["settled", "already_released"]).await;
}

#[tokio::test]
async fn an_old_snapshot_clears_a_key_once() {
    let stage = Stage::new().await;
    // Zero where the session had ended, or two where another had begun.
    stage.endings("select occupancy.clear_concurrency('AK')", &["0", "1", "2"]).await;
}

#[tokio::test]
async fn a_release_with_an_old_snapshot_finds_a_session_that_is_newer() {
    let stage = Stage::new().await;
    // "Unknown", and a session that runs for ever, is what must not be.
    for call in [
        "select outcome from occupancy.release_session($S)",
        "select outcome from occupancy.release_sessions(array[$S])",
    ] {
        stage.play(Stale { given: "", meanwhile: RESERVED, call, right: &["released"] }).await;
    }
}

#[tokio::test]
async fn an_old_snapshot_drops_nothing_that_is_in_use() {
    let stage = Stage::new().await;
    let given = "select occupancy.put_quota('user', 'alice'), occupancy.put_resource_policy('new')";
    for (meanwhile, call) in [
        (RESERVED, "select outcome from occupancy.drop_keypair('AK')"),
        (RESERVED, "select outcome from occupancy.drop_agent('a1')"),
        (RESERVED, "select outcome from occupancy.drop_quota('user', 'alice')"),
        (
            "select occupancy.put_keypair('CK', 'carol', 'new')",
            "select outcome from occupancy.drop_resource_policy('new')",
        ),
    ] {
        stage.play(Stale { given, meanwhile, call, right: &["in_use"] }).await;
    }
}

#[tokio::test]
async fn an_old_snapshot_registers_nothing_wrong() {
    let stage = Stage::new().await;
    let quota = "select outcome from occupancy.put_quota('user', 'alice', 1)";
    let agent = "select outcome from occupancy.put_agent('a1', '{\"cpu\": 9}')";
    let policy = "select outcome from occupancy.put_resource_policy('student', 1)";
    for (given, meanwhile, call, right) in [
        // Creating a quota counts, which takes a snapshot of now.
        ("", RESERVED, quota, "40001"),
        ("", "select occupancy.put_quota('user', 'alice', 3)", quota, "replaced"),
        ("select occupancy.put_quota('user', 'alice', 3)", RESERVED, quota, "replaced"),
        ("", RESERVED, agent, "replaced"),
        ("", "select occupancy.put_agent('a1', '{\"cpu\": 1}')", agent, "replaced"),
        (
            "select occupancy.drop_agent('a1')",
            "select occupancy.put_agent('a1', '{}')",
            agent,
            "replaced",
        ),
        ("", "select occupancy.put_resource_policy('student', 2)", policy, "replaced"),
        (
            "",
            RESERVED,
            "select outcome from occupancy.put_keypair('AK', 'bob', 'other')",
            "replaced",
        ),
        (
            "select occupancy.put_resource_policy('new')",
            "select occupancy.drop_resource_policy('new')",
            "select outcome from occupancy.put_keypair('AK', 'bob', 'new')",
            "OC005",
        ),
    ] {
        stage.play(Stale { given, meanwhile, call, right: &[right] }).await;
    }
}

#[tokio::test]
async fn what_counts_refuses_an_old_snapshot() {
    // A recalculation would write back what it counted in the past.
    let platform = Platform::new(REGISTRY).await;
    platform.run(&spell(&format!("select occupancy.put_quota('user', 'alice'); {RESERVED}"))).await;
    for level in OLD_SNAPSHOTS {
        for call in [
            "select occupancy.recalc_concurrency('AK')",
            "select occupancy.recalc_concurrency_fullscan()",
            "select occupancy.recalc_agent('a1')",
            "select occupancy.recalc_agents_by_session($S)",
            "select occupancy.recalc_agents_fullscan()",
            "select occupancy.recalc_quota('user', 'alice')",
            "select occupancy.recalc_quotas_fullscan()",
            "select occupancy.put_quota('project', 'new')",
        ] {
            let begin = format!("begin isolation level {level}");
            platform.run(&begin).await;
            let refused = ask(&platform.admin, &spell(call)).await;
            assert_eq!(sqlstate(&refused), Some("OC008"), "{level}: {call}: {refused:?}");
            platform.run("rollback").await;
        }
    }
}

#[tokio::test]
async fn readers_with_an_old_snapshot_see_one_moment() {
    // A report that is written in one transaction is about one moment: it neither mixes two, nor is
    // it unsound because others went on.
    for level in OLD_SNAPSHOTS {
        let platform = Platform::new(REGISTRY).await;
        let reader = platform.db.connect_as("occupancy_viewer").await;
        let begin = format!("begin isolation level {level}; select from pg_class limit 1");
        reader.batch_execute(&begin).await.expect("a transaction can begin");
        platform.run(&spell(RESERVED)).await;
        for (query, seen) in [
            ("select count(*) from occupancy.audit()", "0"),
            ("select compute_used from occupancy.get_concurrency('AK')", "0"),
            ("select count(*) from occupancy.get_session($S)", "0"),
            ("select count(*) from occupancy.agent_occupancy where occupied_slots <> '{}'", "0"),
            ("select bool_and(passed) from occupancy.check_session($S, 'AK', $KERNELS)", "true"),
        ] {
            let answer = ask(&reader, &spell(query)).await.expect("answered");
            assert_eq!(answer.as_deref(), Some(seen), "{level}: {query}");
        }
    }
}

/// Calls again in a new transaction whenever the server says so.
async fn reserve_until_answered(client: &Client, level: &str, call: &Call) -> String {
    loop {
        client
            .batch_execute(&format!("begin isolation level {level}; select from pg_class limit 1"))
            .await
            .expect("a transaction can begin");
        let result = reserve(client, call).await;
        let ended = client.batch_execute("commit").await;
        match (sqlstate(&result), sqlstate(&ended)) {
            (None, None) => return result.expect("no error").verdict(),
            (Some("40001"), _) | (None, Some("40001")) => {}
            _ => panic!("{result:?}, {ended:?}"),
        }
    }
}

#[tokio::test]
async fn callers_of_all_isolation_levels_share_one_limit() {
    // Some managers run their transactions in REPEATABLE READ or SERIALIZABLE, and begin again when
    // they are told to. Together with the others they are admitted exactly as often as the limit says.
    let platform = Platform::with_limit(10).await;
    let crowd = platform.crowd(32).await;
    let answers = join_all(crowd.clients.iter().enumerate().map(|(n, client)| async move {
        let level = ["read committed", "repeatable read", "serializable"][n % 3];
        reserve_until_answered(client, level, &Call::new("AK", &["a1"])).await
    }))
    .await;
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(answer).or_insert(0) += 1;
    }
    let expected = [("admitted".to_owned(), 10), ("rejected concurrency_limit".to_owned(), 22)];
    assert_eq!(tally, BTreeMap::from(expected));
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_whole_life_fits_in_one_transaction_of_any_level() -> Result<(), Error> {
    // What a transaction did itself it sees, whatever its level.
    for level in ["read committed", "repeatable read", "serializable"] {
        let platform = Platform::with_limit(2).await;
        platform.run("select occupancy.put_quota('user', 'alice', 2)").await;
        let client = platform.db.connect().await;
        client.batch_execute(&format!("begin isolation level {level}")).await?;
        let [first, second, third] = [(); 3].map(|()| Call::new("AK", &["a1", "a2"]));
        let admitted = reserve(&client, &first).await?;
        assert_eq!(admitted.verdict(), "admitted");
        let kernels = admitted.kernel_ids();
        let batch = [first.clone(), second.clone(), third.clone()];
        let answers = reserve_batch(&client, &batch).await?;
        let outcomes: Vec<&str> = answers.iter().map(|answer| answer.outcome.as_str()).collect();
        assert_eq!(outcomes, ["already_admitted", "admitted", "rejected"]);
        assert_eq!(answers[2].code.as_deref(), Some("concurrency_limit"));
        assert_eq!(settle(&client, kernels[0], &json!({"cpu": 2})).await?, "settled");
        assert_eq!(terminate(&client, first.session_id).await?, "terminating");
        assert_eq!(reserve(&client, &third).await?.verdict(), "admitted");
        assert_eq!(release_kernel(&client, kernels[0]).await?, ("released".to_owned(), false));
        assert_eq!(release_kernel(&client, kernels[1]).await?, ("released".to_owned(), true));
        assert_eq!(release(&client, second.session_id).await?, "released");
        let both = [second.session_id, third.session_id];
        assert_eq!(release_batch(&client, &both).await?, ["already_released", "released"]);
        client.batch_execute("commit").await?;
        platform.assert_empty().await;
    }
    Ok(())
}

#[tokio::test]
async fn nothing_remains_of_a_transaction_that_rolls_back() -> Result<(), Error> {
    // A manager reserves and then fails at its own tables, in the same transaction.
    for level in ["read committed", "repeatable read", "serializable"] {
        let platform = Platform::with_limit(2).await;
        platform.run("select occupancy.put_quota('user', 'alice', 2)").await;
        let running = Call::new("AK", &["a1"]);
        reserve(&platform.admin, &running).await?;
        let picture = "select jsonb_agg(to_jsonb(t) order by to_jsonb(t)) from (
                         select to_jsonb(k) from occupancy.keypair k
                         union all select to_jsonb(a) from occupancy.agent a
                         union all select to_jsonb(q) from occupancy.quota q
                         union all select to_jsonb(s) from occupancy.session s
                         union all select to_jsonb(c) from occupancy.session_concurrency c
                         union all select to_jsonb(k) from occupancy.kernel k) as t";
        let before = platform.ask(picture).await;

        let client = platform.db.connect().await;
        client.batch_execute(&format!("begin isolation level {level}")).await?;
        reserve(&client, &Call::new("AK", &["a1", "a2"])).await?;
        reserve_batch(&client, &[Call::new("AK", &["a2"]), Call::new("AK", &["a3"])]).await?;
        terminate(&client, running.session_id).await?;
        release_batch(&client, &[running.session_id, Uuid::new_v4()]).await?;
        client.batch_execute("rollback").await?;
        assert_eq!(platform.ask(picture).await, before);
        platform.assert_sound().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_savepoint_takes_back_what_came_after_it() -> Result<(), Error> {
    for level in ["read committed", "repeatable read", "serializable"] {
        let platform = Platform::with_limit(2).await;
        let client = platform.db.connect().await;
        client.batch_execute(&format!("begin isolation level {level}")).await?;
        let [kept, undone] = [(); 2].map(|()| Call::new("AK", &["a1"]));
        reserve(&client, &kept).await?;
        client.batch_execute("savepoint before").await?;
        assert_eq!(reserve(&client, &undone).await?.used, Some(2));
        release(&client, kept.session_id).await?;
        client.batch_execute("rollback to savepoint before").await?;
        // The id was never used, and the session that was kept is there.
        assert_eq!(reserve(&client, &undone).await?.verdict(), "admitted");
        assert_eq!(reserve(&client, &kept).await?.verdict(), "already_admitted");
        client.batch_execute("commit").await?;
        assert_eq!(platform.used("AK").await, 2);
        platform.assert_sound().await;
    }
    Ok(())
}

#[tokio::test]
async fn being_full_does_not_abort_the_callers_transaction() -> Result<(), Error> {
    // The caller goes on in its transaction after every kind of answer that is no mistake of its own.
    for level in ["read committed", "repeatable read", "serializable"] {
        let platform = Platform::with_limit(1).await;
        let client = platform.db.connect().await;
        client.batch_execute(&format!("begin isolation level {level}")).await?;
        let call = Call::new("AK", &["a1"]);
        let late = Uuid::new_v4();
        assert_eq!(release(&client, late).await?, "unknown");
        assert_eq!(
            reserve(&client, &call.clone().with_id(late)).await?.verdict(),
            "rejected session_ended"
        );
        let large = json!([{"agent": "a1", "slots": {"cpu": 1001}}]);
        let too_large = Call::new("AK", &[]).with_kernels(large);
        assert_eq!(reserve(&client, &too_large).await?.verdict(), "rejected agent_capacity");
        assert_eq!(reserve(&client, &call).await?.verdict(), "admitted");
        assert_eq!(
            reserve(&client, &Call::new("AK", &["a1"])).await?.verdict(),
            "rejected concurrency_limit"
        );
        let mistake = Call::new("nobody", &["a1"]);
        assert_eq!(reserve_batch(&client, &[mistake]).await?[0].verdict(), "invalid OC002");
        client.batch_execute("commit").await?;
        assert_eq!(platform.used("AK").await, 1);
        platform.assert_sound().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_mistake_in_a_savepoint_leaves_the_rest_of_the_transaction() -> Result<(), Error> {
    // A mistake does raise, as in any function; the caller who expects it sets a savepoint.
    let platform = Platform::with_limit(2).await;
    let client = platform.begin().await;
    let call = Call::new("AK", &["a1"]);
    reserve(&client, &call).await?;
    client.batch_execute("savepoint before").await?;
    let conflicting = Call::new("AK", &["a2"]).with_id(call.session_id);
    assert_eq!(sqlstate(&reserve(&client, &conflicting).await), Some("OC006"));
    client.batch_execute("rollback to savepoint before; commit").await?;
    assert_eq!(platform.used("AK").await, 1);
    platform.assert_sound().await;
    Ok(())
}
