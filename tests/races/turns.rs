//! Two or three connections in an order that the test decides.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::KEY;
use crate::support::platform::{
    Call, Platform, release, reserve, reserve_batch, sqlstate, terminate,
};

async fn commit(client: &Client) {
    client.batch_execute("commit").await.expect("a transaction can commit");
}

async fn rollback(client: &Client) {
    client.batch_execute("rollback").await.expect("a transaction can roll back");
}

#[tokio::test]
async fn a_duplicate_waits_for_the_first_and_is_already_admitted() {
    // The first call is admitted but has not committed; its manager gives up on it and calls again.
    let platform = Platform::with_limit(1).await;
    let call = Call::new("AK", &["a1", "a2"]);
    let first = platform.begin().await;
    let admitted = reserve(&first, &call).await.expect("answered");
    let second = platform.blocked_reservation(&call).await;
    commit(&first).await;
    let repeated = second.await.expect("the call ended").expect("answered");
    assert_eq!(
        (admitted.verdict(), repeated.verdict()),
        ("admitted".into(), "already_admitted".into())
    );
    assert_eq!(repeated.kernels, admitted.kernels);
    assert_eq!(platform.used("AK").await, 1);
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_duplicate_is_admitted_itself_when_the_first_rolls_back() {
    // The same, but the first manager's transaction fails after its reservation. What it was told
    // is worth nothing then, and the one who waited must not be told "already".
    let platform = Platform::with_limit(1).await;
    let call = Call::new("AK", &["a1"]);
    let first = platform.begin().await;
    reserve(&first, &call).await.expect("answered");
    let second = platform.blocked_reservation(&call).await;
    rollback(&first).await;
    assert_eq!(second.await.expect("the call ended").expect("answered").verdict(), "admitted");
    assert_eq!(platform.used("AK").await, 1);
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_rejected_call_leaves_nothing_to_wait_for() {
    // The first call was rejected, in a transaction that is still open and makes the agent grow. A
    // duplicate need not wait for it, and is decided by what is committed.
    let platform = Platform::with_limit(1).await;
    platform.run("select occupancy.put_agent('a1', '{}')").await;
    let call = Call::new("AK", &["a1"]);
    let first = platform.begin().await;
    let rejected = reserve(&first, &call).await.expect("answered");
    assert_eq!(rejected.verdict(), "rejected agent_capacity");
    first
        .batch_execute("select occupancy.put_agent('a1', '{\"cpu\": 1}')")
        .await
        .expect("answered");
    let second = reserve(&platform.admin, &call).await.expect("answered");
    assert_eq!(second.verdict(), "rejected agent_capacity");
    commit(&first).await;
    let third = reserve(&platform.admin, &call).await.expect("answered");
    assert_eq!(third.verdict(), "admitted");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_duplicate_of_a_batch_waits_for_it() {
    // The batch claims all its ids before it decides about the first of them.
    let platform = Platform::with_limit(5).await;
    let calls = [Call::new("AK", &["a1"]), Call::new("AK", &["a2"]), Call::new("AK", &["a3"])];
    let batch = platform.begin().await;
    let answers = reserve_batch(&batch, &calls).await.expect("answered");
    assert!(answers.iter().all(|answer| answer.outcome == "admitted"));
    let single = platform.blocked_reservation(&calls[1]).await;
    commit(&batch).await;
    assert_eq!(
        single.await.expect("the call ended").expect("answered").verdict(),
        "already_admitted"
    );
    assert_eq!(platform.used("AK").await, 3);
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_reservation_that_waited_for_the_key_sees_what_the_holder_left() {
    // Another manager takes the last slot while this one waits.
    let platform = Platform::with_limit(1).await;
    let first = platform.begin().await;
    reserve(&first, &Call::new("AK", &["a1"])).await.expect("answered");
    let second = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&first).await;
    let rejected = second.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected concurrency_limit");
    assert_eq!((rejected.used, rejected.max), (Some(1), Some(1)));
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_reservation_that_waited_for_the_key_sees_the_slots_that_the_holder_left() {
    // Sessions enough, and one cpu, which the first of them takes.
    let platform = Platform::with_limit(9).await;
    platform
        .run("select occupancy.put_resource_policy('student', 9, total_resource_slots => '{\"cpu\": 1}')")
        .await;
    let first = platform.begin().await;
    reserve(&first, &Call::new("AK", &["a1"])).await.expect("answered");
    let second = platform.blocked_reservation(&Call::new("AK", &["a2"])).await;
    commit(&first).await;
    let rejected = second.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected keypair_quota");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_reservation_that_waited_for_an_agent_sees_what_the_holder_left() {
    // Two keys, one agent with room for one of the two sessions. The second reservation has read
    // the agent as free before it waits for it.
    let platform = Platform::with_limit(9).await;
    platform
        .run(
            "select occupancy.put_keypair('BK', 'bob', 'student');
             select occupancy.put_agent('a1', '{\"cpu\": 5}');",
        )
        .await;
    let three = json!([{"agent": "a1", "slots": {"cpu": 3}}]);
    let first = platform.begin().await;
    reserve(&first, &Call::new("AK", &[]).with_kernels(three.clone())).await.expect("answered");
    let second = platform.blocked_reservation(&Call::new("BK", &[]).with_kernels(three)).await;
    commit(&first).await;
    let rejected = second.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected agent_capacity");
    assert_eq!(rejected.violations[0]["used"], "3");
    assert_eq!(platform.used("BK").await, 0);
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_reservation_that_waited_for_a_quota_sees_what_the_holder_left() {
    // Nothing in common but the project, whose last session the first of them takes. The second has
    // charged its user before it waits, who gets that back.
    let platform = Platform::with_limit(9).await;
    platform
        .run(
            "select occupancy.put_keypair('BK', 'bob', 'student');
             select occupancy.put_quota('user', 'bob', 1), occupancy.put_quota('project', 'vision', 1);",
        )
        .await;
    let first = platform.begin().await;
    let call = Call::new("AK", &["a1"]).with_project("vision");
    reserve(&first, &call).await.expect("answered");
    let other = Call::new("BK", &["a2"]).with_project("vision");
    let second = platform.blocked_reservation(&other).await;
    commit(&first).await;
    let rejected = second.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected project_quota");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_reservation_that_waited_for_a_quota_sees_the_slots_that_the_holder_left() {
    // Sessions enough, and one cpu of the project, which the first of them takes.
    let platform = Platform::with_limit(9).await;
    platform
        .run(
            "select occupancy.put_keypair('BK', 'bob', 'student');
             select occupancy.put_quota('project', 'vision', 9, '{\"cpu\": 1}');",
        )
        .await;
    let first = platform.begin().await;
    let call = Call::new("AK", &["a1"]).with_project("vision");
    reserve(&first, &call).await.expect("answered");
    let other = Call::new("BK", &["a2"]).with_project("vision");
    let second = platform.blocked_reservation(&other).await;
    commit(&first).await;
    let rejected = second.await.expect("the call ended").expect("answered");
    assert_eq!(rejected.verdict(), "rejected project_quota");
    assert_eq!(rejected.violations[0]["slot"], "cpu");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_full_key_rejects_without_its_lock() {
    // Somebody holds the row of the full key, and everybody who retries against it would queue up.
    // The rejection is answered all the same; the lock_timeout turns a wait into a failure.
    let platform = Platform::with_limit(1).await;
    reserve(&platform.admin, &Call::new("AK", &["a1"])).await.expect("answered");
    let holder = platform.begin().await;
    holder.batch_execute(KEY).await.expect("the key can be locked");
    let client = platform.db.connect().await;
    client.batch_execute("set lock_timeout = '100ms'").await.expect("a setting");
    let rejected = reserve(&client, &Call::new("AK", &["a1"])).await.expect("no lock was needed");
    assert_eq!(rejected.verdict(), "rejected concurrency_limit");
    // The lock is really there: what could be admitted does wait for it.
    let system = Call::new("AK", &["a1"]).with_type("system");
    assert_eq!(sqlstate(&reserve(&client, &system).await), Some("55P03"));
}

#[tokio::test]
async fn an_answer_to_a_full_key_leaves_nothing_for_others_to_wait_for() {
    // The rejection happened in a transaction that stays open: a manager that looks at many
    // sessions in one transaction holds up nobody by those that it could not place.
    let platform = Platform::with_limit(0).await;
    let open = platform.begin().await;
    let call = Call::new("AK", &["a1"]);
    reserve(&open, &call).await.expect("answered");
    platform.run("select occupancy.put_resource_policy('student', 1)").await;
    let client = platform.db.connect().await;
    client.batch_execute("set lock_timeout = '100ms'").await.expect("a setting");
    assert_eq!(reserve(&client, &call).await.expect("no lock is held").verdict(), "admitted");
}

#[tokio::test]
async fn a_terminating_session_makes_room_for_one_that_waits() {
    // The slot is given back before the containers are gone; whoever waits for the key gets it.
    let platform = Platform::with_limit(2).await;
    let ending = Call::new("AK", &["a1"]);
    reserve(&platform.admin, &ending).await.expect("answered");
    let open = platform.begin().await;
    terminate(&open, ending.session_id).await.expect("answered");
    let waiting = platform.blocked_reservation(&Call::new("AK", &["a1"])).await;
    commit(&open).await;
    assert_eq!(waiting.await.expect("the call ended").expect("answered").used, Some(1));
    assert_eq!(
        platform
            .ask(
                "select occupied_slots ->> 'cpu' from occupancy.agent_occupancy
                             where agent_id = 'a1'"
            )
            .await,
        "2"
    );
    platform.assert_sound().await;
}

/// Somebody repairs by hand and holds the slot of a session that ends meanwhile. Deleting it, which
/// takes it off the key, must not find the key held by who waits for the slot.
async fn a_hand_that_holds_the_slot_goes_first(ending: &str, sessions: fn(Uuid) -> String) {
    let platform = Platform::with_limit(2).await;
    let call = Call::new("AK", &["a1"]);
    reserve(&platform.admin, &call).await.expect("answered");
    let hand = platform.begin().await;
    hand.batch_execute("select from occupancy.session_concurrency for update")
        .await
        .expect("the slot can be locked");
    let statement = format!("select occupancy.{ending}({})", sessions(call.session_id));
    let waiting =
        platform.blocked(|client| async move { client.batch_execute(&statement).await }).await;
    hand.batch_execute("delete from occupancy.session_concurrency").await.expect("no deadlock");
    commit(&hand).await;
    waiting.await.expect("the call ended").expect("answered");
    assert_eq!(platform.used("AK").await, 0, "{ending}");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_release_waits_for_a_slot_without_its_key() {
    a_hand_that_holds_the_slot_goes_first("release_session", |id| format!("'{id}'")).await;
}

#[tokio::test]
async fn a_batch_of_releases_waits_for_a_slot_without_its_key() {
    a_hand_that_holds_the_slot_goes_first("release_sessions", |id| format!("'{{{id}}}'")).await;
}

#[tokio::test]
async fn a_termination_waits_for_a_slot_without_its_key() {
    a_hand_that_holds_the_slot_goes_first("terminate_session", |id| format!("'{id}'")).await;
}

#[tokio::test]
async fn a_kernel_id_belongs_to_the_session_that_came_first() {
    // Two sessions of different keys on different agents name the same kernel id. The second waits
    // for the first's kernel, and is refused whole when that is committed.
    let platform = Platform::with_limit(9).await;
    platform.run("select occupancy.put_keypair('BK', 'bob', 'student')").await;
    let kernel = Uuid::new_v4();
    let on = |agent: &str| json!([{"kernel_id": kernel, "agent": agent, "slots": {"cpu": 1}}]);
    let first = platform.begin().await;
    reserve(&first, &Call::new("AK", &[]).with_kernels(on("a1"))).await.expect("answered");
    let other = Call::new("BK", &[]).with_kernels(on("a2"));
    let second = platform.blocked_reservation(&other).await;
    commit(&first).await;
    let refused = second.await.expect("the call ended");
    assert_eq!(sqlstate(&refused), Some("OC006"));
    assert_eq!(platform.used("BK").await, 0);
    platform.assert_sound().await;

    // In a batch it costs its own element only.
    let batch = [other, Call::new("BK", &["a2"])];
    let answers = reserve_batch(&platform.admin, &batch).await.expect("answered");
    assert_eq!(answers[0].verdict(), "invalid OC006");
    assert_eq!(answers[1].verdict(), "admitted");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_batch_that_loses_a_kernel_id_decides_anew() {
    // The batch's first session takes the key's last slot, so that the second has to be rejected. But
    // its kernel id is taken by a session that has not committed. When it has, the first is refused,
    // and nobody is in the second's way any more.
    let platform = Platform::with_limit(1).await;
    platform.run("select occupancy.put_keypair('BK', 'bob', 'student')").await;
    let kernel = json!([{"kernel_id": Uuid::new_v4(), "agent": "a1", "slots": {"cpu": 1}}]);
    let first = platform.begin().await;
    let holder = Call::new("AK", &[]).with_kernels(kernel.clone());
    reserve(&first, &holder).await.expect("answered");
    let calls = [Call::new("BK", &[]).with_kernels(kernel), Call::new("BK", &["a2"])];
    let batch =
        platform.blocked(|client| async move { reserve_batch(&client, &calls).await }).await;
    commit(&first).await;
    let answers = batch.await.expect("the call ended").expect("answered");
    assert_eq!(answers[0].verdict(), "invalid OC006");
    assert_eq!(answers[1].verdict(), "admitted");
    assert_eq!(platform.used("BK").await, 1);
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_kernel_id_is_free_again_when_its_session_rolls_back() {
    let platform = Platform::with_limit(9).await;
    platform.run("select occupancy.put_keypair('BK', 'bob', 'student')").await;
    let kernel = Uuid::new_v4();
    let on = |agent: &str| json!([{"kernel_id": kernel, "agent": agent, "slots": {"cpu": 1}}]);
    let first = platform.begin().await;
    reserve(&first, &Call::new("AK", &[]).with_kernels(on("a1"))).await.expect("answered");
    let second = platform.blocked_reservation(&Call::new("BK", &[]).with_kernels(on("a2"))).await;
    rollback(&first).await;
    assert_eq!(second.await.expect("the call ended").expect("answered").verdict(), "admitted");
    platform.assert_sound().await;
}

#[tokio::test]
async fn batches_in_opposite_orders_do_not_deadlock() {
    // Batches that share ids, keys, agents and quotas, each in an order of its own: if their locks
    // were taken in the order of the input, two of them would soon wait for each other.
    let platform = Platform::new(
        "select occupancy.put_resource_policy('student');
         select occupancy.put_keypair('K' || n, 'user' || n % 2, 'student', domain => 'campus')
           from generate_series(0, 4) as n;
         select occupancy.put_agent('a' || n, '{\"cpu\": 1000}') from generate_series(0, 4) as n;
         select occupancy.put_quota('user', 'user' || n) from generate_series(0, 1) as n;
         select occupancy.put_quota('domain', 'campus'), occupancy.put_quota('project', 'vision');",
    )
    .await;
    let crowd = platform.crowd(16).await;
    for round in 0..10_usize {
        let calls: Vec<Call> = (0..10)
            .map(|n| {
                let agents = [format!("a{}", n % 5), format!("a{}", (n + round) % 5)];
                let kernels: Value = agents
                    .iter()
                    .map(|agent| json!({"agent": agent, "slots": {"cpu": 1}}))
                    .collect();
                let call = Call::new(&format!("K{}", n * 3 % 5), &[]).with_kernels(kernels);
                if n.is_multiple_of(2) { call.with_project("vision") } else { call }
            })
            .collect();
        let batches = crowd.clients.iter().enumerate().map(|(n, client)| {
            let mut calls = calls.clone();
            calls.rotate_left(n % 10);
            if n.is_multiple_of(2) {
                calls.reverse();
            }
            async move { reserve_batch(client, &calls).await.expect("answered") }
        });
        let answers = join_all(batches).await.concat();
        let admitted = answers.iter().filter(|answer| answer.outcome == "admitted").count();
        assert_eq!((admitted, answers.len()), (10, 160), "each session once");
    }
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

/// Sixteen connections send batches of five sessions at once, again and again. Of key, agent and
/// project each connection uses five of its own, but for one kind, of which all use the same.
async fn batches_that_share(kind: &str) {
    let platform = Platform::new(
        "select occupancy.put_resource_policy('student');
         select occupancy.put_keypair(n || '-' || m, 'user', 'student'),
                occupancy.put_agent(n || '-' || m, '{\"cpu\": 1000}'),
                occupancy.put_quota('project', n || '-' || m)
           from generate_series(0, 15) as n, generate_series(0, 4) as m;",
    )
    .await;
    let crowd = platform.crowd(16).await;
    for round in 0..15 {
        let batches = crowd.clients.iter().enumerate().map(|(n, client)| {
            let whose = |this: &str| if this == kind { 0 } else { n };
            let mut calls: Vec<Call> = (0..5)
                .map(|m| {
                    let key = format!("{}-{m}", whose("key"));
                    let agent = format!("{}-{m}", whose("agent"));
                    let project = format!("{}-{m}", whose("project"));
                    Call::new(&key, &[&agent]).with_project(&project)
                })
                .collect();
            calls.rotate_left((n + round) % 5);
            if n.is_multiple_of(2) {
                calls.reverse();
            }
            async move { reserve_batch(client, &calls).await.expect("answered") }
        });
        let answers = join_all(batches).await.concat();
        assert!(answers.iter().all(|answer| answer.outcome == "admitted"), "{answers:?}");
    }
    platform.assert_sound().await;
    platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn batches_that_share_only_keys_do_not_deadlock() {
    // Nothing else makes them queue, so that they come to the keys all at once.
    batches_that_share("key").await;
}

#[tokio::test]
async fn batches_that_share_only_agents_do_not_deadlock() {
    batches_that_share("agent").await;
}

#[tokio::test]
async fn batches_that_share_only_quotas_do_not_deadlock() {
    batches_that_share("project").await;
}

#[tokio::test]
async fn a_duplicate_does_not_find_a_quota_full_of_itself() {
    // The second call has found room at its key. Before it looks at the quotas, the first is
    // admitted, and the last session of the user's quota is this very one. Nothing is locked in
    // between; the test makes the second wait there.
    let platform = Platform::with_limit(9).await;
    platform
        .run(
            "select occupancy.put_quota('user', 'alice', 1);
             alter function occupancy.quotas_ahead rename to quotas_ahead_as_it_is;
             create function occupancy.quotas_ahead(text, text, text, text, jsonb)
               returns setof occupancy.seen_quota language plpgsql volatile as $$
             begin
               if current_setting('occupancy_test.wait', true) = 'here' then
                 perform pg_advisory_xact_lock(1);
               end if;
               return query
                 select q.* from occupancy.quotas_ahead_as_it_is($1, $2, $3, $4, $5) as q;
             end $$;
             grant execute on function occupancy.quotas_ahead to occupancy_owner;",
        )
        .await;
    let holder = platform.begin().await;
    holder.batch_execute("select pg_advisory_xact_lock(1)").await.expect("locked");
    let call = Call::new("AK", &["a1"]);
    let repeated = call.clone();
    let second = platform
        .blocked(|client| async move {
            client.batch_execute("set occupancy_test.wait = 'here'").await?;
            reserve(&client, &repeated).await
        })
        .await;
    let first = reserve(&platform.admin, &call).await.expect("answered");
    assert_eq!(first.verdict(), "admitted");
    commit(&holder).await;
    let answer = second.await.expect("the call ended").expect("answered");
    assert_eq!(answer.verdict(), "already_admitted");
    platform.assert_sound().await;
}

#[tokio::test]
async fn a_batch_holds_all_of_its_rows_before_it_decides() {
    // The batch's last element needs an agent that somebody holds. Had it begun with the first, it
    // would now hold that one's ledger rows while it waits, and in another order than its neighbour.
    let platform = Platform::with_limit(9).await;
    let holder = platform.begin().await;
    holder
        .batch_execute("select from occupancy.agent where agent_id = 'a3' for update")
        .await
        .expect("the agent can be locked");
    let calls = [Call::new("AK", &["a1"]), Call::new("AK", &["a3"])];
    let batch = {
        let calls = calls.clone();
        platform.blocked(|client| async move { reserve_batch(&client, &calls).await }).await
    };
    let strength = "select count(*) from occupancy.agent where agent_id in ('a1', 'a2')
                    and agent_id not in (select agent_id from occupancy.agent
                                         for no key update skip locked)";
    assert_eq!(platform.ask(strength).await, "1", "a1 is held, a2 is not needed");
    commit(&holder).await;
    let answers = batch.await.expect("the call ended").expect("answered");
    assert!(answers.iter().all(|answer| answer.outcome == "admitted"));
    platform.assert_sound().await;
}

#[tokio::test]
async fn an_id_that_a_batch_found_ended_is_not_forgotten_meanwhile() {
    // The batch names an ended id, which it does not have to claim, and waits for an agent with its
    // key locked. Were the id pruned now, another manager could claim it and wait for the key, and
    // the batch, when it comes to the id, would wait for that manager: a deadlock.
    let platform = Platform::with_limit(9).await;
    let ended = Call::new("AK", &["a1"]);
    release(&platform.admin, ended.session_id).await.expect("answered");
    let holder = platform.begin().await;
    holder
        .batch_execute("select from occupancy.agent where agent_id = 'a3' for update")
        .await
        .expect("the agent can be locked");
    let calls = [Call::new("AK", &["a3"]), ended.clone()];
    let batch =
        platform.blocked(|client| async move { reserve_batch(&client, &calls).await }).await;
    assert_eq!(platform.ask("select occupancy.prune_ended('0')").await, "0");
    let other = reserve(&platform.admin, &ended).await.expect("answered");
    assert_eq!(other.verdict(), "rejected session_ended");
    commit(&holder).await;
    let answers = batch.await.expect("the call ended").expect("answered");
    assert_eq!(answers[0].verdict(), "admitted");
    assert_eq!(answers[1].verdict(), "rejected session_ended");
    platform.assert_sound().await;
}
