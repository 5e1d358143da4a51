//! A tick and somebody else, in every order that matters: each is forced, one holds what the other
//! waits for.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{Queue, but, enqueue, ids, tick, wanting};
use crate::support::fixture::id;
use crate::support::platform::{Call, ask, release, reserve, sqlstate};
use crate::support::{backend_pid, wait_until_blocked};

/// A queue of one agent with 4 cpu, in which session 1 of `AK` waits for one.
async fn one_waits() -> Queue {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 1})]).await;
    q
}

/// What a tick answers that waits for what `first` does, until that is committed.
async fn tick_after(q: &Queue, first: &str) -> Vec<String> {
    let holder = q.platform.begin().await;
    holder.batch_execute(first).await.expect("done");
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    holder.batch_execute("commit").await.expect("committed");
    let answer = ticking.await.expect("ended").expect("answered");
    q.platform.assert_sound().await;
    answer
}

/// What a statement answers that waits for a tick, until that is committed; and what that placed.
async fn after_tick(q: &Queue, sql: &'static str) -> (String, Vec<String>) {
    let ticking = q.platform.begin().await;
    let placed = tick(&ticking, "").await.expect("answered");
    let waiting = q.platform.blocked(|client| async move { ask(&client, sql).await }).await;
    ticking.batch_execute("commit").await.expect("committed");
    let answer = waiting.await.expect("ended").expect("answered").unwrap_or_default();
    q.platform.assert_sound().await;
    (answer, placed)
}

#[tokio::test]
async fn who_does_not_wait_is_told_that_another_ticks() {
    let q = one_waits().await;
    q.run("select occupancy.put_agent('b1', '{\"cpu\": 4}', 'other')").await;
    q.enqueued(but(wanting(2, "BK", json!({"cpu": 1})), json!({"resource_group": "other"}))).await;
    let ticking = q.platform.begin().await;
    assert_eq!(tick(&ticking, "").await.expect("answered"), ["1 -> a1"]);
    q.run("set lock_timeout = '10s'").await;
    // Nothing but the word, and nothing is done.
    let alone = "select (a.*)::text from occupancy.schedule_sessions(wait => false) as a";
    assert_eq!(q.ask(alone).await, "(,busy,,,,)");
    // Another group is nobody's yet.
    assert_eq!(q.tick("'other', wait => false").await, ["2 -> b1"]);
    ticking.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(q.tick("wait => false").await, ["1 -> a1"]);
    assert_eq!(q.tick("wait => false").await, [""; 0]);
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn a_key_that_is_shut_down_gets_nothing_from_a_tick_that_waited() {
    let q = one_waits().await;
    let shut = "select occupancy.put_keypair('AK', 'alice', 'open', is_active => false)";
    assert_eq!(tick_after(&q, shut).await, ["1 waiting key_inactive"]);
}

#[tokio::test]
async fn a_key_that_moves_to_another_user_is_charged_to_that_one() {
    let q = one_waits().await;
    q.run("select occupancy.put_quota('user', 'carol', 0)").await;
    let moved = "select occupancy.put_keypair('AK', 'carol', 'open')";
    assert_eq!(tick_after(&q, moved).await, ["1 waiting user_quota"]);
}

#[tokio::test]
async fn a_key_that_gets_another_policy_is_bound_by_that_one() {
    let q = one_waits().await;
    q.run("select occupancy.put_resource_policy('closed', 0)").await;
    let moved = "select occupancy.put_keypair('AK', 'alice', 'closed')";
    assert_eq!(tick_after(&q, moved).await, ["1 waiting concurrency_limit"]);
}

#[tokio::test]
async fn the_last_slot_of_a_key_goes_to_who_holds_it() {
    // A manager that does without the queue takes it while the tick waits for the key.
    let q = one_waits().await;
    q.run("select occupancy.put_resource_policy('open', 1)").await;
    let kernels = json!([{"agent": "a1", "slots": {"cpu": 1}}]);
    let reserve = format!("select occupancy.reserve_session('{}', 'AK', '{kernels}')", id(9));
    assert_eq!(tick_after(&q, &reserve).await, ["1 waiting concurrency_limit"]);
}

#[tokio::test]
async fn a_slot_that_is_freed_meanwhile_is_given_away() {
    let q = one_waits().await;
    q.run("select occupancy.put_resource_policy('open', 1)").await;
    let kernels = json!([{"agent": "a1", "slots": {"cpu": 4}}]);
    q.run(&format!("select occupancy.reserve_session('{}', 'AK', '{kernels}')", id(9))).await;
    let release = format!("select occupancy.release_session('{}')", id(9));
    assert_eq!(tick_after(&q, &release).await, ["1 -> a1"]);
}

#[tokio::test]
async fn an_agent_that_shrinks_is_full_for_a_tick_that_waited() {
    let q = one_waits().await;
    let shrink = "select occupancy.put_agent('a1', '{\"cpu\": 0.5}')";
    assert_eq!(tick_after(&q, shrink).await, ["1 waiting no_agent_fits"]);
}

#[tokio::test]
async fn an_agent_that_is_lost_takes_nobody_from_a_tick_that_waited() {
    let q = one_waits().await;
    let lost = "select occupancy.put_agent('a1', status => 'LOST')";
    assert_eq!(tick_after(&q, lost).await, ["1 waiting no_agent_fits"]);
}

#[tokio::test]
async fn an_agent_that_changes_groups_takes_nobody_of_the_old_one() {
    let q = one_waits().await;
    let moved = "select occupancy.put_agent('a1', resource_group => 'other')";
    assert_eq!(tick_after(&q, moved).await, ["1 waiting no_agent_fits"]);
}

#[tokio::test]
async fn an_agent_that_is_dropped_takes_nobody_from_a_tick_that_waited() {
    let q = one_waits().await;
    assert_eq!(
        tick_after(&q, "select occupancy.drop_agent('a1')").await,
        ["1 waiting no_agent_fits"]
    );
}

#[tokio::test]
async fn an_agent_that_a_tick_is_filling_is_in_use() {
    let q = one_waits().await;
    let (answer, placed) =
        after_tick(&q, "select outcome from occupancy.drop_agent('a1') as d").await;
    assert_eq!((answer.as_str(), placed), ("in_use", vec!["1 -> a1".to_owned()]));
}

#[tokio::test]
async fn a_heartbeat_keeps_what_a_tick_placed_meanwhile() {
    let q = one_waits().await;
    after_tick(&q, "select outcome from occupancy.put_agent('a1', '{\"cpu\": 9}') as d").await;
    let occupied = "select occupied_slots from occupancy.agent_occupancy";
    assert_eq!(q.ask(occupied).await, r#"{"cpu": "1"}"#);
}

#[tokio::test]
async fn a_quota_that_is_lowered_meanwhile_binds_a_tick_that_waited_for_it() {
    let q = one_waits().await;
    q.run("select occupancy.put_quota('domain', 'd', 9)").await;
    let lowered = "select occupancy.put_quota('domain', 'd', 0)";
    assert_eq!(tick_after(&q, lowered).await, ["1 waiting domain_quota"]);
}

#[tokio::test]
async fn a_quota_created_while_a_tick_places_counts_what_that_placed() {
    // The tick knows nothing of the quota, and whoever creates it does not see what is placed: he
    // waits for the tick and counts.
    let q = one_waits().await;
    let (answer, _) =
        after_tick(&q, "select outcome from occupancy.put_quota('user', 'alice', 1) as d").await;
    assert_eq!(answer, "created");
    assert_eq!(q.ask("select used from occupancy.quotas").await, "1");
}

#[tokio::test]
async fn a_key_with_a_session_that_is_being_enqueued_is_in_use() {
    let q = Queue::with(1).await;
    let enqueuing = q.platform.begin().await;
    enqueue(&enqueuing, &wanting(1, "AK", json!({"cpu": 1}))).await.expect("answered");
    let drop = "select outcome from occupancy.drop_keypair('AK') as d";
    let dropping = q.platform.blocked(|client| async move { ask(&client, drop).await }).await;
    enqueuing.batch_execute("commit").await.expect("committed");
    assert_eq!(dropping.await.expect("ended").expect("answered").as_deref(), Some("in_use"));
}

#[tokio::test]
async fn a_key_that_is_dropped_is_unknown_to_those_who_enqueue_meanwhile() {
    let q = Queue::with(1).await;
    let holder = q.platform.begin().await;
    holder.batch_execute("select occupancy.drop_keypair('AK')").await.expect("dropped");
    let request = wanting(1, "AK", json!({"cpu": 1}));
    let enqueuing =
        q.platform.blocked(|client| async move { enqueue(&client, &request).await }).await;
    holder.batch_execute("commit").await.expect("committed");
    assert_eq!(sqlstate(&enqueuing.await.expect("ended")), Some("OC002"));
    assert_eq!(q.ask("select count(*) from occupancy.session").await, "0");
}

#[tokio::test]
async fn a_pending_limit_that_is_reached_meanwhile_lets_nobody_else_wait() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', max_pending_sessions => 1)").await;
    let first = q.platform.begin().await;
    enqueue(&first, &wanting(1, "AK", json!({"cpu": 1}))).await.expect("answered");
    let second = wanting(2, "AK", json!({"cpu": 1}));
    let waiting = q.platform.blocked(|client| async move { enqueue(&client, &second).await }).await;
    first.batch_execute("commit").await.expect("committed");
    let answer = waiting.await.expect("ended").expect("answered");
    assert_eq!(answer, "rejected pending_sessions");
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn a_session_that_is_placed_makes_room_for_one_that_wants_to_wait() {
    let q = one_waits().await;
    q.run("select occupancy.put_resource_policy('open', max_pending_sessions => 1)").await;
    let ticking = q.platform.begin().await;
    tick(&ticking, "").await.expect("answered");
    let second = wanting(2, "AK", json!({"cpu": 1}));
    let waiting = q.platform.blocked(|client| async move { enqueue(&client, &second).await }).await;
    ticking.batch_execute("commit").await.expect("committed");
    assert_eq!(waiting.await.expect("ended").expect("answered"), "enqueued");
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn one_session_enqueued_by_many_at_once_waits_once() {
    // A manager that gets no answer repeats its call. The first holds the id and waits for the key;
    // the others wait for the id.
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', max_pending_sessions => 1)").await;
    let key = "select from occupancy.keypair where access_key = 'AK' for update";
    let crowd = q.platform.crowd(16).await;
    let mut answers = q
        .platform
        .stampede(key, crowd, |_, client| async move {
            let request = wanting(1, "AK", json!({"cpu": 1}));
            enqueue(&client, &request).await.expect("answered")
        })
        .await;
    answers.sort();
    let mut expected = vec!["already_enqueued"; 15];
    expected.push("enqueued");
    assert_eq!(answers, expected);
    assert_eq!(q.tick("").await, ["1 -> a1"]);
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn of_an_id_that_is_reserved_and_enqueued_at_once_one_is_refused() {
    let q = Queue::with(1).await;
    let kernels = json!([{"agent": "a1", "slots": {"cpu": 1}}]);
    let call = Call::new("AK", &[]).with_id(id(1)).with_kernels(kernels);
    for reserved_first in [true, false] {
        let holder = q.platform.begin().await;
        let request = wanting(1, "AK", json!({"cpu": 1}));
        let second = if reserved_first {
            reserve(&holder, &call).await.expect("admitted");
            q.platform
                .blocked(|client| async move {
                    sqlstate(&enqueue(&client, &request).await).map(str::to_owned)
                })
                .await
        } else {
            enqueue(&holder, &request).await.expect("enqueued");
            let call = call.clone();
            q.platform
                .blocked(|client| async move {
                    sqlstate(&reserve(&client, &call).await).map(str::to_owned)
                })
                .await
        };
        holder.batch_execute("commit").await.expect("committed");
        assert_eq!(second.await.expect("ended").as_deref(), Some("OC006"));
        q.platform.assert_sound().await;
        q.release(1).await;
        q.run("select occupancy.prune_ended('0')").await;
    }
}

#[tokio::test]
async fn a_dependency_that_ends_meanwhile_is_met_for_a_tick_that_waited() {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    q.tick("").await;
    let after = json!({"dependencies": ids([1])});
    q.enqueued(but(wanting(2, "AK", json!({"cpu": 1})), after)).await;
    let release = format!("select occupancy.release_session('{}')", id(1));
    assert_eq!(tick_after(&q, &release).await, ["2 -> a1"]);
}

#[tokio::test]
async fn a_dependency_that_is_forgotten_meanwhile_is_unknown() {
    // Was it a success? Nobody knows any more, and nobody would ever say so to who waits for it.
    let q = one_waits().await;
    q.tick("").await;
    q.release(1).await;
    let holder = q.platform.begin().await;
    holder.batch_execute("select occupancy.prune_ended('0')").await.expect("pruned");
    let after = json!({"dependencies": ids([1])});
    let request = but(wanting(2, "AK", json!({"cpu": 1})), after);
    let enqueuing =
        q.platform.blocked(|client| async move { enqueue(&client, &request).await }).await;
    holder.batch_execute("commit").await.expect("committed");
    assert_eq!(sqlstate(&enqueuing.await.expect("ended")), Some("OC004"));
    assert_eq!(q.ask("select count(*) from occupancy.session").await, "0");
}

#[tokio::test]
async fn who_forgets_waits_for_nobody_who_takes_a_session_out_of_the_queue() {
    // A session that waited for two others is placed or cancelled, which takes both off it; the two
    // are being forgotten, which does the same. In different orders each would wait for the other.
    for leave in
        ["select occupancy.schedule_sessions()", "select occupancy.clear_concurrency('AK')"]
    {
        let q = Queue::with(1).await;
        q.wait_for_slots(&[json!({"cpu": 1}), json!({"cpu": 1})]).await;
        q.tick("").await;
        let after = json!({"dependencies": ids([1, 2])});
        q.enqueued(but(wanting(3, "AK", json!({"cpu": 1})), after)).await;
        q.release(1).await;
        q.release(2).await;
        let holder = q.platform.begin().await;
        holder.batch_execute(leave).await.expect("it left the queue");
        q.run("set lock_timeout = '10s'").await;
        let prune = "select occupancy.prune_ended('0')";
        assert_eq!(q.ask(prune).await, "0", "they are kept until {leave} is through");
        holder.batch_execute("commit").await.expect("committed");
        q.release(3).await;
        assert_eq!(q.ask(prune).await, "3");
        q.platform.assert_empty().await;
    }
}

/// An agent of another group, and a reservation there for another user: a tick of the group
/// `default` holds no row that it needs.
async fn elsewhere(q: &Queue, kernel_ids: &[u128]) -> Call {
    q.run("select occupancy.put_agent('b1', '{\"cpu\": 4}', 'other')").await;
    let kernels =
        kernel_ids.iter().map(|&n| json!({"kernel_id": id(n), "agent": "b1", "slots": {}}));
    Call::new("BK", &[]).with_id(id(9)).with_kernels(kernels.collect())
}

/// A request to wait, whose kernels have these ids.
fn wanting_as(n: u128, kernel_ids: &[u128], slots: &Value) -> Value {
    let kernels = kernel_ids.iter().map(|&n| json!({"kernel_id": id(n), "slots": slots}));
    but(wanting(n, "AK", json!({})), json!({"kernels": kernels.collect::<Value>()}))
}

#[tokio::test]
async fn a_kernel_id_that_is_taken_meanwhile_keeps_its_session_waiting_and_nobody_else() {
    // The tick has looked at all sessions and is about to write, when somebody else, whom none of
    // its locks stops, reserves with a kernel id of the first. That one has to wait; what it was to
    // have goes to the third, which would have found no room beside it.
    let q = Queue::with(1).await;
    q.enqueued(wanting_as(1, &[101, 102], &json!({"cpu": 1}))).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 1}))).await;
    q.enqueued(wanting(3, "AK", json!({"cpu": 3}))).await;
    let call = elsewhere(&q, &[102]).await;
    let holder = q.platform.begin().await;
    reserve(&holder, &call).await.expect("admitted");
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    holder.batch_execute("commit").await.expect("committed");
    let answer = ticking.await.expect("ended").expect("answered");
    assert_eq!(answer, ["1 waiting kernel_id_taken", "2 -> a1", "3 -> a1"]);
    q.platform.assert_sound().await;
    let left = format!("select count(*) from occupancy.kernels where session_id = '{}'", id(1));
    assert_eq!(q.ask(&left).await, "0");
    assert_eq!(q.tick("").await, ["1 waiting no_agent_fits kernel_id_taken"]);
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_kernel_id_that_is_taken_in_vain_keeps_nobody_waiting() {
    // As before, but the reservation is rolled back.
    let q = Queue::with(1).await;
    q.enqueued(wanting_as(1, &[101], &json!({"cpu": 1}))).await;
    let call = elsewhere(&q, &[101]).await;
    let holder = q.platform.begin().await;
    reserve(&holder, &call).await.expect("admitted");
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    holder.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(ticking.await.expect("ended").expect("answered"), ["1 -> a1"]);
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn a_reservation_that_waits_for_a_kernel_id_gets_it_from_a_tick_that_places_its_session_not()
{
    // A tick has the first id of a session and waits for the second, which is being taken; for the
    // first waits a reservation. Since the session is not placed, its first id is free again, as
    // soon as the tick knows.
    let q = Queue::with(1).await;
    q.enqueued(wanting_as(1, &[101, 102], &json!({"cpu": 1}))).await;
    let call = elsewhere(&q, &[102]).await;
    q.run("select occupancy.put_keypair('CK', 'carol', 'open')").await;
    q.run("select occupancy.put_agent('c1', '{\"cpu\": 4}', 'third')").await;
    let holder = q.platform.begin().await;
    reserve(&holder, &call).await.expect("admitted");
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    let late = Call { access_key: "CK".to_owned(), ..call }.with_id(id(8));
    let late = late.with_kernels(json!([{"kernel_id": id(101), "agent": "c1", "slots": {}}]));
    let late = q.platform.blocked_reservation(&late).await;
    holder.batch_execute("commit").await.expect("committed");
    let answer = ticking.await.expect("ended").expect("answered");
    assert_eq!(answer, ["1 waiting kernel_id_taken"]);
    assert_eq!(late.await.expect("ended").expect("answered").outcome, "admitted");
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_tick_and_a_reservation_with_the_same_kernel_ids_do_not_deadlock() {
    // The session that waits and a reservation have two kernel ids in common, which each of them
    // names in another order. The reservation has written the lower one, and waits for one in
    // between that somebody else is taking, when the tick comes.
    let q = Queue::with(1).await;
    q.enqueued(wanting_as(1, &[103, 101], &json!({"cpu": 1}))).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 1}))).await;
    let call = elsewhere(&q, &[101, 102, 103]).await;
    let holder = q.platform.begin().await;
    let between = format!(
        "insert into occupancy.kernel (
           kernel_id, session_id, position, id_generated, agent_id, requested_slots)
         values ('{}', '{}', 1, true, 'b1', '{{}}')",
        id(102),
        id(7)
    );
    holder.batch_execute(&between).await.expect("written");
    let reserving = q.platform.blocked_reservation(&call).await;
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    holder.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(reserving.await.expect("ended").expect("answered").outcome, "admitted");
    let answer = ticking.await.expect("ended").expect("answered");
    assert_eq!(answer, ["1 waiting kernel_id_taken", "2 -> a1"]);
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn an_id_that_a_kernel_was_given_by_the_queue_may_be_taken_like_any_other() {
    // Nobody is told such an id before its session is placed, and nobody guesses it. A tick does not
    // rely on that: who has the id from elsewhere stops that session, and nobody else.
    let q = one_waits().await;
    let given = "select min(kernels #>> '{0,kernel_id}') from occupancy.queued_session";
    let given = q.ask(given).await;
    let kernels = json!([{"kernel_id": given, "agent": "b1", "slots": {}}]);
    let call = elsewhere(&q, &[]).await.with_kernels(kernels);
    let admission = reserve(&q.platform.admin, &call).await.expect("answered");
    assert_eq!(admission.outcome, "admitted");
    q.enqueued(wanting(2, "AK", json!({"cpu": 1}))).await;
    for answer in [&["1 waiting kernel_id_taken", "2 -> a1"][..], &["1 waiting kernel_id_taken"]] {
        assert_eq!(q.tick("").await, answer);
    }
}

/// The pending counts, wrong by somebody's hand, and a recalculation that has to wait for what a
/// session of the key does.
async fn recalculate_after(q: &Queue, change: &str) {
    q.run("update occupancy.key_queue set sessions = 7").await;
    for recalculation in ["recalc_concurrency('AK')", "recalc_queue_fullscan()"] {
        let holder = q.platform.begin().await;
        holder.batch_execute(change).await.expect("done");
        let sql = format!("select max(after ->> 'sessions') from occupancy.{recalculation}");
        let recalculating =
            q.platform.blocked(|client| async move { ask(&client, &sql).await }).await;
        holder.batch_execute("rollback").await.expect("rolled back");
        let after = recalculating.await.expect("ended").expect("answered");
        assert_eq!(after.as_deref(), Some("2"), "{recalculation} after {change} that was nothing");
        q.platform.assert_sound().await;
        q.run("update occupancy.key_queue set sessions = 7").await;
    }
    let holder = q.platform.begin().await;
    holder.batch_execute(change).await.expect("done");
    let recalculating = q
        .platform
        .blocked(|client| async move {
            ask(&client, "select count(*) from occupancy.recalc_queue('AK')").await
        })
        .await;
    holder.batch_execute("commit").await.expect("committed");
    recalculating.await.expect("ended").expect("answered");
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn a_recalculation_of_pending_counts_never_loses_a_change_under_way() {
    // The change is written but not committed, so that the recalculation cannot see it. Did it not
    // wait, it would set the counts to what it sees.
    for change in [
        format!("select occupancy.release_session('{}')", id(1)),
        format!("select occupancy.cancel_session('{}')", id(1)),
        format!("select occupancy.release_sessions(array['{}']::uuid[])", id(1)),
        format!("select occupancy.terminate_session('{}')", id(1)),
        format!("select occupancy.enqueue_session('{}', 'AK', '[{{\"slots\": {{}}}}]')", id(3)),
        "select occupancy.schedule_sessions(max_sessions => 1)".to_owned(),
    ] {
        let q = Queue::with(1).await;
        q.wait_for_slots(&[json!({"cpu": 1}), json!({"cpu": 1})]).await;
        recalculate_after(&q, &change).await;
    }
}

#[tokio::test]
async fn a_tick_under_way_leaves_a_recalculation_nothing_to_correct() {
    let q = one_waits().await;
    q.run("select occupancy.put_quota('user', 'alice')").await;
    for recalculation in [
        "select count(*) from occupancy.recalc_concurrency_fullscan()",
        "select count(*) from occupancy.recalc_agents_fullscan()",
        "select count(*) from occupancy.recalc_quotas_fullscan()",
    ] {
        let (corrections, placed) = after_tick(&q, recalculation).await;
        assert_eq!((corrections.as_str(), placed.len()), ("0", 1), "{recalculation}");
        q.release(1).await;
        q.run("select occupancy.prune_ended('0')").await;
        q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    }
}

/// A tick in a transaction that stays open.
async fn open_tick(q: &Queue, arguments: &str) -> (Client, Vec<String>) {
    let client = q.platform.begin().await;
    let answer = tick(&client, arguments).await.expect("answered");
    (client, answer)
}

#[tokio::test]
async fn of_two_groups_that_share_a_quota_neither_waits_longer_than_one_tick() {
    // The second waits for the first, with all of its own group in its hands. The first needs none
    // of that, and so whoever waits does so until one tick is through, and not for each other.
    let q = Queue::with(1).await;
    q.run(
        "select occupancy.put_agent('b1', '{\"cpu\": 4}', 'other');
         select occupancy.put_agent('c1', '{\"cpu\": 4}', 'third');
         select occupancy.put_quota('user', 'alice', 9);",
    )
    .await;
    for (n, key, group) in
        [(1, "AK", "default"), (2, "AK2", "other"), (3, "BK", "third"), (4, "AK", "default")]
    {
        let request = wanting(n, key, json!({"cpu": 1}));
        q.enqueued(but(request, json!({"resource_group": group}))).await;
    }
    let (first, placed) = open_tick(&q, "max_sessions => 1").await;
    assert_eq!(placed, ["1 -> a1"]);
    let first_pid = backend_pid(&first).await;
    let second = q.platform.db.connect().await;
    let second_pid = backend_pid(&second).await;
    let second = tokio::spawn(async move { tick(&second, "'other'").await });
    wait_until_blocked(&q.platform.admin, second_pid).await;
    // It waits for the first alone, and the first for nobody.
    let blockers = |pid: i32| format!("select pg_blocking_pids({pid})::text");
    assert_eq!(q.ask(&blockers(second_pid)).await, format!("{{{first_pid}}}"));
    assert_eq!(q.ask(&blockers(first_pid)).await, "{}");
    // What it waits with is in nobody's way who shares nothing with it ...
    assert_eq!(q.tick("'third'").await, ["3 -> c1"]);
    // ... nor in the way of the first, were that to go on.
    assert_eq!(tick(&first, "").await.expect("answered"), ["4 -> a1"]);
    first.batch_execute("commit").await.expect("committed");
    assert_eq!(second.await.expect("ended").expect("answered"), ["2 -> b1"]);
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_second_tick_of_a_group_waits_before_it_holds_anything() {
    // Eight managers tick one group. Those that wait their turn hold no session, key or agent that
    // anybody else could want meanwhile.
    let q = one_waits().await;
    q.enqueued(wanting(2, "BK", json!({"cpu": 1}))).await;
    let (first, placed) = open_tick(&q, "max_sessions => 1").await;
    assert_eq!(placed, ["1 -> a1"]);
    let second = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    q.run("set lock_timeout = '10s'").await;
    assert_eq!(q.release(2).await, "released");
    first.batch_execute("commit").await.expect("committed");
    assert_eq!(second.await.expect("ended").expect("answered"), [""; 0]);
    q.platform.assert_sound().await;
}

#[tokio::test]
async fn a_session_that_somebody_holds_is_passed_over_without_waiting() {
    // Whoever ends a session holds it, and may be waiting for the very keys that the tick has.
    let q = one_waits().await;
    q.enqueued(wanting(2, "BK", json!({"cpu": 1}))).await;
    let holder = q.platform.begin().await;
    let hold = format!("select from occupancy.session where session_id = '{}' for update", id(1));
    holder.batch_execute(&hold).await.expect("held");
    q.run("set lock_timeout = '10s'").await;
    assert_eq!(q.tick("").await, ["2 -> a1"]);
    holder.batch_execute("commit").await.expect("committed");
    assert_eq!(q.tick("").await, ["1 -> a1"]);
}

#[tokio::test]
async fn groups_that_share_a_key_place_no_more_than_its_limit() {
    // Eight managers tick eight groups, and all of them wait for the same key.
    let q = Queue::with(1).await;
    q.run("select occupancy.put_resource_policy('open', 3)").await;
    for n in 0..8_u32 {
        let group = format!("g{n}");
        q.run(&format!("select occupancy.put_agent('{group}', '{{\"cpu\": 4}}', '{group}')")).await;
        for m in 0..2 {
            let request = wanting(u128::from(2 * n + m), "AK", json!({"cpu": 1}));
            q.enqueued(but(request, json!({"resource_group": group}))).await;
        }
    }
    let key = "select from occupancy.keypair where access_key = 'AK' for update";
    let crowd = q.platform.crowd(8).await;
    let ticks = q
        .platform
        .stampede(key, crowd, |n, client| async move {
            tick(&client, &format!("'g{n}'")).await.expect("answered")
        })
        .await
        .concat();
    let placed = ticks.iter().filter(|line| line.contains("->")).count();
    let full = ticks.iter().filter(|line| line.ends_with("waiting concurrency_limit")).count();
    assert_eq!((placed, full), (3, 13), "{ticks:?}");
    assert_eq!(q.platform.used("AK").await, 3);
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_release_that_waits_for_a_tick_ends_what_that_placed_and_no_more() {
    // One session is released by two while a tick that placed it is under way.
    let q = one_waits().await;
    let (ticking, _) = open_tick(&q, "").await;
    let first = q.platform.blocked(|client| async move { release(&client, id(1)).await }).await;
    let second = q.platform.blocked(|client| async move { release(&client, id(1)).await }).await;
    ticking.batch_execute("commit").await.expect("committed");
    let mut answers = [
        first.await.expect("ended").expect("answered"),
        second.await.expect("ended").expect("answered"),
    ];
    answers.sort();
    assert_eq!(answers, ["already_released", "released"]);
    q.platform.assert_empty().await;
}

#[tokio::test]
async fn a_release_takes_a_session_from_a_tick_that_has_looked_at_it_and_waits() {
    // The tick waits for an agent, with the key in its hands. The release takes the session and waits
    // for the key. Were the tick to wait for the session in turn, neither would ever go on.
    let q = one_waits().await;
    let holder = q.platform.begin().await;
    holder.batch_execute("select from occupancy.agent for update").await.expect("held");
    let ticking = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    let releasing = q.platform.blocked(|client| async move { release(&client, id(1)).await }).await;
    holder.batch_execute("commit").await.expect("committed");
    assert_eq!(ticking.await.expect("ended").expect("answered"), [""; 0]);
    assert_eq!(releasing.await.expect("ended").expect("answered"), "released");
    assert_eq!(q.status(1).await, "CANCELLED");
    q.platform.assert_empty().await;
    q.platform.assert_no_conflict_logged().await;
}

#[tokio::test]
async fn a_tick_that_rolls_back_placed_nobody() {
    let q = one_waits().await;
    let (ticking, placed) = open_tick(&q, "").await;
    assert_eq!(placed, ["1 -> a1"]);
    let waiting = q.platform.blocked(|client| async move { tick(&client, "").await }).await;
    ticking.batch_execute("rollback").await.expect("rolled back");
    assert_eq!(waiting.await.expect("ended").expect("answered"), ["1 -> a1"]);
    q.platform.assert_sound().await;
    assert_eq!(q.ask("select count(*) from occupancy.history").await, "2");
}
