//! In which order a tick looks at sessions: priorities, policies, times and dependencies.

use serde_json::json;

use super::{Queue, but, ids, wanting};

/// Sessions 1 to `n` of 4 cpu, so that an agent takes one.
async fn crowd(agents: usize, n: usize) -> Queue {
    let q = Queue::with(agents).await;
    q.wait_for_slots(&vec![json!({"cpu": 4}); n]).await;
    q
}

#[tokio::test]
async fn fifo_places_the_first_that_came() {
    let q = crowd(1, 2).await;
    assert_eq!(q.tick("policy => 'fifo'").await, ["1 -> a1", "2 waiting no_agent_fits"]);
}

#[tokio::test]
async fn lifo_places_the_last_that_came() {
    let q = crowd(1, 2).await;
    assert_eq!(q.tick("policy => 'lifo'").await, ["2 -> a1", "1 waiting no_agent_fits"]);
}

#[tokio::test]
async fn a_higher_priority_goes_first_under_every_policy() {
    for policy in ["fifo", "lifo", "drf"] {
        let q = Queue::with(1).await;
        for (n, priority) in [(1, 10), (2, 0), (3, 100)] {
            let request = wanting(n, "AK", json!({"cpu": 4}));
            q.enqueued(but(request, json!({"priority": priority}))).await;
        }
        let order: Vec<_> = q.tick(&format!("policy => '{policy}'")).await;
        assert_eq!(
            order,
            ["3 -> a1", "1 waiting no_agent_fits", "2 waiting no_agent_fits"],
            "{policy}"
        );
    }
}

#[tokio::test]
async fn a_tick_looks_at_no_more_than_it_is_told() {
    let q = crowd(3, 3).await;
    assert_eq!(q.tick("max_sessions => 2").await, ["1 -> a1", "2 -> a2"]);
    assert_eq!(q.tick("max_sessions => 2").await, ["3 -> a3"]);
}

#[tokio::test]
async fn one_that_does_not_fit_stops_nobody_else() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 4})]).await;
    assert_eq!(q.tick("").await, ["1 waiting no_agent_fits", "2 -> a1"]);
}

#[tokio::test]
async fn one_that_failed_often_enough_steps_aside() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 4})]).await;
    let head = "max_sessions => 1, tries => 2";
    assert_eq!(q.tick(head).await, ["1 waiting no_agent_fits"]);
    assert_eq!(q.tick(head).await, ["1 waiting no_agent_fits"]);
    assert_eq!(q.tick(head).await, ["2 -> a1"]);
}

#[tokio::test]
async fn those_that_stepped_aside_take_turns() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&vec![json!({"cpu": 5}); 3]).await;
    let mut order = Vec::new();
    for _ in 0..6 {
        order.extend(q.tick("max_sessions => 1, tries => 1").await);
    }
    let expected = [1, 2, 3, 1, 2, 3].map(|n| format!("{n} waiting no_agent_fits"));
    assert_eq!(order, expected);
}

#[tokio::test]
async fn in_strict_order_nobody_passes_one_that_finds_no_room() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 4})]).await;
    for _ in 0..5 {
        assert_eq!(q.tick("tries => 0").await, ["1 waiting no_agent_fits"]);
    }
}

#[tokio::test]
async fn in_strict_order_a_limit_of_its_own_holds_up_nobody_else() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_quota('user', 'alice', 0)").await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 4}))).await;
    q.enqueued(wanting(2, "BK", json!({"cpu": 4}))).await;
    assert_eq!(q.tick("tries => 0").await, ["1 waiting user_quota", "2 -> a1"]);
}

#[tokio::test]
async fn in_strict_order_one_that_could_not_run_anyway_holds_up_nobody_by_its_size() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_quota('user', 'alice', 0)").await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 5}))).await;
    q.enqueued(wanting(2, "BK", json!({"cpu": 4}))).await;
    assert_eq!(q.tick("tries => 0").await, ["1 waiting user_quota no_agent_fits", "2 -> a1"]);
}

#[tokio::test]
async fn drf_lets_keys_take_turns() {
    let q = Queue::with(4).await;
    for n in 1..=3 {
        q.enqueued(wanting(n, "AK", json!({"cpu": 4}))).await;
    }
    for n in 4..=6 {
        q.enqueued(wanting(n, "BK", json!({"cpu": 4}))).await;
    }
    assert_eq!(
        q.tick("policy => 'drf'").await,
        [
            "1 -> a1",
            "4 -> a2",
            "2 -> a3",
            "5 -> a4",
            "3 waiting no_agent_fits",
            "6 waiting no_agent_fits"
        ]
    );
}

#[tokio::test]
async fn drf_compares_the_dominant_share_and_not_the_number() {
    // 2 of 8 cpu are a quarter, 1 of 2 GPUs is half: the second session of AK goes first.
    let q = Queue::on(&[("a1", json!({"cpu": 8, "cuda.device": 2}))]).await;
    q.enqueued(wanting(1, "BK", json!({"cuda.device": 1}))).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 2}))).await;
    q.enqueued(wanting(3, "BK", json!({"cpu": 1}))).await;
    q.enqueued(wanting(4, "AK", json!({"cpu": 1}))).await;
    assert_eq!(q.tick("policy => 'drf'").await, ["1 -> a1", "2 -> a1", "4 -> a1", "3 -> a1"]);
}

#[tokio::test]
async fn drf_counts_what_a_key_occupied_before() {
    let q = Queue::with(2).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 3}))).await;
    q.tick("").await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 4}))).await;
    q.enqueued(wanting(3, "BK", json!({"cpu": 4}))).await;
    assert_eq!(q.tick("policy => 'drf'").await, ["3 -> a2", "2 waiting no_agent_fits"]);
}

#[tokio::test]
async fn drf_lets_no_key_keep_the_others_out_by_how_many_it_lets_wait() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&vec![json!({"cpu": 1}); 6]).await;
    q.enqueued(wanting(7, "BK", json!({"cpu": 1}))).await;
    let two = "policy => 'drf', max_sessions => 2";
    assert_eq!(q.tick(two).await, ["1 -> a1", "7 -> a1"]);
    // Whether there are more than it looks at is not told by how many a key has.
    assert_eq!(q.tick(two).await, ["2 -> a1", "3 -> a1"]);
    assert_eq!(q.tick(two).await, ["4 waiting no_agent_fits", "5 waiting no_agent_fits"]);
    q.enqueued(wanting(8, "BK", json!({}))).await;
    assert_eq!(q.tick(two).await, ["8 -> a1", "4 waiting no_agent_fits"]);
}

#[tokio::test]
async fn drf_lets_nobody_keep_the_others_out_by_what_has_no_room() {
    let q = Queue::with(1).await;
    q.wait_for_slots(&[json!({"cpu": 5}), json!({"cpu": 5}), json!({"cpu": 4})]).await;
    let one = "policy => 'drf', max_sessions => 1, tries => 1";
    assert_eq!(q.tick(one).await, ["1 waiting no_agent_fits"]);
    assert_eq!(q.tick(one).await, ["2 waiting no_agent_fits"]);
    assert_eq!(q.tick(one).await, ["3 -> a1"]);
    assert_eq!(q.tick(one).await, ["1 waiting no_agent_fits"]);
    assert_eq!(
        q.tick("policy => 'drf', max_sessions => 1, tries => 0").await,
        ["1 waiting no_agent_fits"]
    );
}

#[tokio::test]
async fn a_batch_session_starts_at_its_time_to_the_second() {
    let q = Queue::with(1).await;
    let batch = json!({"session_type": "batch", "starts_at": "2030-01-01T10:00:00Z"});
    q.enqueued(but(wanting(1, "AK", json!({"cpu": 1})), batch)).await;
    q.at("2030-01-01 09:59:59Z").await;
    assert_eq!(q.tick("").await, ["1 waiting start_time"]);
    q.at("2030-01-01 10:00:00Z").await;
    assert_eq!(q.tick("").await, ["1 -> a1"]);
}

#[tokio::test]
async fn a_start_time_in_the_past_is_reached() {
    let q = Queue::with(1).await;
    let batch = json!({"session_type": "batch", "starts_at": "1999-01-01T00:00:00Z"});
    q.enqueued(but(wanting(1, "AK", json!({"cpu": 1})), batch)).await;
    assert_eq!(q.tick("").await, ["1 -> a1"]);
}

// A tick looks, and later words why who waits does so. A start time that comes in between, or a
// dependency that ends, once made it answer `placed`, without a kernel. The clock stands for all that
// happens meanwhile: it goes on with every call, and ends the dependency at one of them.
#[tokio::test]
async fn what_was_in_the_way_when_a_tick_looked_is_told_even_if_it_is_gone() {
    let q = Queue::with(1).await;
    q.run("create sequence public.moment; grant usage on sequence public.moment to public").await;
    let clock = |happens: &str| {
        format!(
            "create or replace function occupancy.clock() returns timestamptz
             language plpgsql volatile as $$
             declare n constant bigint := nextval('public.moment');
             begin
               {happens}
               return timestamptz '2100-01-01 00:00:00Z' + n * interval '1 s';
             end $$"
        )
    };
    let mut told = Vec::new();
    for moment in 1..=8_u128 {
        q.run(&clock("")).await;
        q.run("alter sequence public.moment restart").await;
        let at =
            json!({"session_type": "batch", "starts_at": format!("2100-01-01T00:00:0{moment}.5Z")});
        q.enqueued(but(wanting(moment, "AK", json!({})), at)).await;
        told.extend(q.tick("").await);
        q.release(moment).await;
    }
    for moment in 1..=8_u128 {
        q.run(
            "create or replace function occupancy.clock() returns timestamptz
               language sql volatile return clock_timestamp()",
        )
        .await;
        let (first, second) = (10 * moment, 10 * moment + 1);
        q.enqueued(wanting(first, "AK", json!({}))).await;
        assert_eq!(q.tick("").await, [format!("{first} -> a1")]);
        q.enqueued(but(wanting(second, "AK", json!({})), json!({"dependencies": ids([first])})))
            .await;
        q.run("alter sequence public.moment restart").await;
        let release = ids([first])[0];
        q.run(&clock(&format!(
            "if n = {moment} then perform occupancy.release_session('{release}'); end if;"
        )))
        .await;
        told.extend(q.tick("").await);
        q.release(second).await;
    }
    let (mut placed, mut waiting) = (0, 0);
    for line in &told {
        let (_, became) = line.split_once(' ').expect("a number");
        match became {
            "-> a1" => placed += 1,
            "waiting start_time" | "waiting dependencies" => waiting += 1,
            _ => panic!("{line}: {told:?}"),
        }
    }
    assert!(placed > 0 && waiting > 0, "{told:?}");
}

/// Session 2 depends on 1.
async fn chain() -> Queue {
    let q = Queue::with(1).await;
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    let after = json!({"dependencies": ids([1])});
    q.enqueued(but(wanting(2, "AK", json!({"cpu": 1})), after)).await;
    q
}

#[tokio::test]
async fn a_session_waits_until_its_dependency_ended_with_success() {
    let q = chain().await;
    assert_eq!(q.tick("").await, ["1 -> a1", "2 waiting dependencies"]);
    q.set_status(1, "RUNNING").await;
    assert_eq!(q.tick("").await, ["2 waiting dependencies"]);
    q.release(1).await;
    assert_eq!(q.tick("").await, ["2 -> a1"]);
}

#[tokio::test]
async fn a_dependency_out_of_an_error_is_no_success() {
    let q = chain().await;
    q.tick("").await;
    q.set_status(1, "ERROR").await;
    q.release(1).await;
    assert_eq!(q.tick("").await, ["2 waiting dependencies"]);
    q.run("select occupancy.prune_ended('0')").await;
    assert_eq!(q.tick("").await, ["2 waiting dependencies"]);
}

#[tokio::test]
async fn a_cancelled_dependency_is_no_success() {
    let q = chain().await;
    q.release(1).await;
    assert_eq!(q.tick("").await, ["2 waiting dependencies"]);
}

#[tokio::test]
async fn a_dependency_that_is_forgotten_after_its_success_is_met() {
    let q = chain().await;
    q.tick("").await;
    q.release(1).await;
    assert_eq!(q.ask("select occupancy.prune_ended('0')").await, "1");
    assert_eq!(q.tick("").await, ["2 -> a1"]);
}

#[tokio::test]
async fn all_dependencies_must_be_met() {
    let q = chain().await;
    let after = json!({"dependencies": ids([1, 2])});
    q.enqueued(but(wanting(3, "AK", json!({"cpu": 1})), after)).await;
    q.tick("").await;
    q.release(1).await;
    assert_eq!(q.tick("").await, ["2 -> a1", "3 waiting dependencies"]);
    q.release(2).await;
    assert_eq!(q.tick("").await, ["3 -> a1"]);
}

#[tokio::test]
async fn a_tick_leaves_other_groups_alone() {
    let q = Queue::with(1).await;
    q.run("select occupancy.put_agent('b1', '{\"cpu\": 4}', 'other')").await;
    let other = json!({"resource_group": "other"});
    q.enqueued(but(wanting(1, "AK", json!({"cpu": 1})), other)).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 1}))).await;
    assert_eq!(q.tick("").await, ["2 -> a1"]);
    assert_eq!(q.tick("'other'").await, ["1 -> b1"]);
}

#[tokio::test]
async fn a_tick_that_finds_nobody_leaves_nothing_behind() {
    let q = Queue::with(1).await;
    let groups = "select string_agg(resource_group, ', ') from occupancy.scheduled_group";
    q.enqueued(wanting(1, "AK", json!({"cpu": 1}))).await;
    assert_eq!(q.tick("").await, ["1 -> a1"]);
    assert_eq!(q.tick("'mistyped'").await, [""; 0]);
    assert_eq!(q.platform.ask(groups).await, "default");
}
