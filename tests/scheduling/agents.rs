//! Which agent a session gets.

use serde_json::{Value, json};

use super::{Queue, but, wanting};

/// Where sessions of the slots given go, in this order, by a selector.
async fn places(q: &Queue, selector: &str, slots: &[Value]) -> Vec<String> {
    q.wait_for_slots(slots).await;
    let answers = q.tick(&format!("selector => '{selector}'")).await;
    answers.into_iter().map(|line| line.split_once(' ').expect("a number").1.to_owned()).collect()
}

/// A small agent, a large one, and one with GPUs.
async fn mixed() -> Queue {
    Queue::on(&[
        ("cpu-1", json!({"cpu": 4})),
        ("cpu-2", json!({"cpu": 8})),
        ("gpu-1", json!({"cpu": 16, "cuda.shares": 2})),
    ])
    .await
}

const ONE: [usize; 3] = [1, 1, 1];

fn cpus(amounts: &[usize]) -> Vec<Value> {
    amounts.iter().map(|cpu| json!({"cpu": cpu})).collect()
}

#[tokio::test]
async fn dispersed_takes_the_agent_with_most_left() {
    let q = Queue::with(3).await;
    assert_eq!(
        places(&q, "dispersed", &cpus(&[1, 1, 1, 1])).await,
        ["-> a1", "-> a2", "-> a3", "-> a1"]
    );
}

#[tokio::test]
async fn dispersed_is_what_a_tick_does_when_nothing_is_said() {
    let q = Queue::with(2).await;
    q.wait_for_slots(&cpus(&[1, 1])).await;
    assert_eq!(q.tick("").await, ["1 -> a1", "2 -> a2"]);
}

#[tokio::test]
async fn concentrated_fills_an_agent_before_it_begins_another() {
    let q = Queue::with(2).await;
    let placed = places(&q, "concentrated", &cpus(&[2, 1, 1, 1])).await;
    assert_eq!(placed, ["-> a1", "-> a1", "-> a1", "-> a2"]);
}

#[tokio::test]
async fn concentrated_takes_the_agent_with_least_left() {
    let q = mixed().await;
    assert_eq!(places(&q, "concentrated", &cpus(&ONE)).await, ["-> cpu-1", "-> cpu-1", "-> cpu-1"]);
}

#[tokio::test]
async fn a_cpu_job_stays_off_gpu_agents_while_there_are_others() {
    for selector in ["concentrated", "dispersed", "legacy"] {
        let q = mixed().await;
        let placed = places(&q, selector, &cpus(&[8, 4, 4])).await;
        assert_eq!(placed, ["-> cpu-2", "-> cpu-1", "-> gpu-1"], "{selector}");
    }
}

#[tokio::test]
async fn legacy_takes_the_agent_with_most_in_all() {
    let q = mixed().await;
    assert_eq!(places(&q, "legacy", &cpus(&[5, 1, 1])).await, ["-> cpu-2", "-> cpu-2", "-> cpu-2"]);
}

#[tokio::test]
async fn roundrobin_goes_by_id_and_on_with_the_next_tick() {
    let q = Queue::with(3).await;
    assert_eq!(places(&q, "roundrobin", &cpus(&[1, 1])).await, ["-> a1", "-> a2"]);
    q.enqueued(wanting(11, "AK", json!({"cpu": 1}))).await;
    q.enqueued(wanting(12, "AK", json!({"cpu": 1}))).await;
    assert_eq!(q.tick("selector => 'roundrobin'").await, ["11 -> a3", "12 -> a1"]);
}

#[tokio::test]
async fn roundrobin_passes_over_who_has_no_room() {
    let q = Queue::with(3).await;
    assert_eq!(
        places(&q, "roundrobin", &cpus(&[1, 4, 1, 4, 1])).await,
        ["-> a1", "-> a2", "-> a3", "waiting no_agent_fits", "-> a1"]
    );
}

#[tokio::test]
async fn roundrobin_goes_on_where_an_agent_is_gone() {
    let q = Queue::with(3).await;
    places(&q, "roundrobin", &cpus(&[1, 1])).await;
    q.release(2).await;
    assert_eq!(q.ask("select outcome from occupancy.drop_agent('a2')").await, "dropped");
    q.enqueued(wanting(11, "AK", json!({"cpu": 1}))).await;
    assert_eq!(q.tick("selector => 'roundrobin'").await, ["11 -> a3"]);
}

#[tokio::test]
async fn roundrobin_goes_on_where_it_was_after_ticks_that_place_nothing() {
    let q = Queue::with(3).await;
    places(&q, "roundrobin", &cpus(&[1, 1])).await;
    let status = |status: &str| {
        format!(
            "select occupancy.put_agent('a1', status => '{status}');
             select occupancy.put_agent('a2', status => '{status}')"
        )
    };
    // Only a3 is left, which is too small, or else the one that a session names.
    q.run(&status("LOST")).await;
    q.enqueued(wanting(11, "AK", json!({"cpu": 5}))).await;
    let named = json!({"kernels": [{"slots": {"cpu": 1}, "agent": "a3"}]});
    q.enqueued(but(wanting(12, "AK", json!({})), named)).await;
    let answer = q.tick("selector => 'roundrobin'").await;
    assert_eq!(answer, ["11 waiting no_agent_fits", "12 -> a3"]);
    q.run(&status("ALIVE")).await;
    q.enqueued(wanting(13, "AK", json!({"cpu": 1}))).await;
    let answer = q.tick("selector => 'roundrobin'").await;
    assert_eq!(answer, ["11 waiting no_agent_fits", "13 -> a3"]);
}

#[tokio::test]
async fn accelerators_count_before_cpu_and_cpu_before_mem() {
    let agents = [
        ("a1", json!({"cuda.shares": 1, "cpu": 9, "mem": 9})),
        ("a2", json!({"cuda.shares": 2, "cpu": 1, "mem": 1})),
        ("a3", json!({"cuda.shares": 2, "cpu": 2, "mem": 1})),
        ("a4", json!({"cuda.shares": 2, "cpu": 2, "mem": 2})),
    ];
    let one = json!({"cuda.shares": "0.1", "cpu": "0.1", "mem": "0.1"});
    let q = Queue::on(&agents).await;
    assert_eq!(places(&q, "dispersed", std::slice::from_ref(&one)).await, ["-> a4"]);
    let q = Queue::on(&agents).await;
    assert_eq!(places(&q, "concentrated", &[one]).await, ["-> a1"]);
}

#[tokio::test]
async fn ties_are_decided_by_id() {
    let q =
        Queue::on(&[("b", json!({"cpu": 4})), ("B", json!({"cpu": 4})), ("a", json!({"cpu": 4}))])
            .await;
    assert_eq!(places(&q, "dispersed", &cpus(&ONE)).await, ["-> B", "-> a", "-> b"]);
}

#[tokio::test]
async fn a_larger_remainder_is_larger_whatever_its_digits() {
    // As texts, 9 is more than 10, and 0.5 more than 0.25.
    let q = Queue::on(&[("a", json!({"cpu": 9})), ("b", json!({"cpu": 10}))]).await;
    assert_eq!(places(&q, "dispersed", &[json!({"cpu": "0.5"})]).await, ["-> b"]);
}

#[tokio::test]
async fn fractions_of_a_device_add_up_exactly() {
    let q = Queue::on(&[("a", json!({"cuda.shares": 1}))]).await;
    let mut expected = vec!["-> a"; 10];
    expected.push("waiting no_agent_fits");
    assert_eq!(places(&q, "dispersed", &vec![json!({"cuda.shares": "0.1"}); 11]).await, expected);
}

#[tokio::test]
async fn an_agent_without_a_slot_has_none_of_it() {
    let q = mixed().await;
    let placed = places(&q, "dispersed", &[json!({"cuda.shares": 1}), json!({"tpu": 1})]).await;
    assert_eq!(placed, ["-> gpu-1", "waiting no_agent_fits"]);
}

#[tokio::test]
async fn a_zero_amount_asks_for_nothing() {
    let q = mixed().await;
    let slots = json!({"cpu": 1, "cuda.shares": 0, "tpu": "0.0"});
    assert_eq!(places(&q, "dispersed", &[slots]).await, ["-> cpu-2"]);
}

#[tokio::test]
async fn who_asks_for_nothing_gets_an_agent_all_the_same() {
    let q = Queue::with(1).await;
    assert_eq!(places(&q, "dispersed", &[json!({"cpu": 4}), json!({})]).await, ["-> a1", "-> a1"]);
}

#[tokio::test]
async fn only_agents_that_are_alive_and_schedulable_are_taken() {
    let q = Queue::with(5).await;
    q.run(
        "select occupancy.put_agent('a1', status => 'LOST');
         select occupancy.put_agent('a2', status => 'RESTARTING');
         select occupancy.put_agent('a3', status => 'TERMINATED');
         select occupancy.put_agent('a4', schedulable => false);",
    )
    .await;
    assert_eq!(places(&q, "dispersed", &cpus(&[4, 4])).await, ["-> a5", "waiting no_agent_fits"]);
}

#[tokio::test]
async fn an_agent_that_shrank_below_its_use_takes_nobody() {
    let q = Queue::with(1).await;
    places(&q, "dispersed", &cpus(&[3])).await;
    q.run("select occupancy.put_agent('a1', '{\"cpu\": 2}')").await;
    q.enqueued(wanting(11, "AK", json!({"cpu": "0.1"}))).await;
    q.enqueued(wanting(12, "AK", json!({}))).await;
    assert_eq!(q.tick("").await, ["11 waiting no_agent_fits", "12 -> a1"]);
}

#[tokio::test]
async fn a_group_without_agents_places_nobody() {
    let q = Queue::on(&[]).await;
    for selector in ["concentrated", "dispersed", "roundrobin", "legacy"] {
        q.enqueue(wanting(1, "AK", json!({"cpu": 1}))).await;
        let answer = q.tick(&format!("selector => '{selector}'")).await;
        assert_eq!(answer, ["1 waiting no_agent_fits"], "{selector}");
    }
}

/// Session 1 with kernels of the cpus given.
fn kernels(cpus: &[usize], mode: &str) -> Value {
    let kernels: Vec<_> = cpus.iter().map(|cpu| json!({"slots": {"cpu": cpu}})).collect();
    but(wanting(1, "AK", json!({})), json!({"kernels": kernels, "cluster_mode": mode}))
}

#[tokio::test]
async fn a_single_node_session_has_all_its_kernels_on_one_agent() {
    let q = Queue::with(2).await;
    q.enqueued(kernels(&[2, 2], "single-node")).await;
    assert_eq!(q.tick("").await, ["1 -> a1 a1"]);
}

#[tokio::test]
async fn a_single_node_session_waits_where_only_several_agents_have_room() {
    let q = Queue::with(2).await;
    q.enqueued(kernels(&[3, 3], "single-node")).await;
    assert_eq!(q.tick("").await, ["1 waiting no_agent_fits"]);
}

#[tokio::test]
async fn a_multi_node_session_has_each_kernel_on_its_own_best() {
    let q = Queue::with(3).await;
    q.enqueued(kernels(&[3, 3, 1], "multi-node")).await;
    assert_eq!(q.tick("").await, ["1 -> a1 a2 a3"]);
}

#[tokio::test]
async fn a_multi_node_session_is_placed_as_a_whole_or_not_at_all() {
    for selector in ["concentrated", "dispersed", "roundrobin", "legacy"] {
        let q = Queue::with(2).await;
        q.enqueued(kernels(&[3, 3, 3], "multi-node")).await;
        // What it tried on the way is free again for the others, and in the same order.
        q.enqueued(wanting(2, "AK", json!({"cpu": 3}))).await;
        q.enqueued(wanting(3, "AK", json!({"cpu": 3}))).await;
        assert_eq!(
            q.tick(&format!("selector => '{selector}'")).await,
            ["1 waiting no_agent_fits", "2 -> a1", "3 -> a2"],
            "{selector}"
        );
    }
}

#[tokio::test]
async fn a_shape_that_only_a_larger_session_left_no_room_for_is_tried_again() {
    // The second kernel of session 1 fits nowhere beside the first. Alone, the same request fits.
    let q = Queue::with(1).await;
    q.enqueued(kernels(&[4, 4], "multi-node")).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 4}))).await;
    assert_eq!(q.tick("").await, ["1 waiting no_agent_fits", "2 -> a1"]);
}

#[tokio::test]
async fn a_designated_agent_is_taken_even_if_others_are_better() {
    let q = Queue::with(2).await;
    let on_a2 = json!({"kernels": [{"slots": {"cpu": 1}, "agent": "a2"}]});
    q.enqueued(but(wanting(1, "AK", json!({})), on_a2.clone())).await;
    q.enqueued(but(wanting(2, "AK", json!({})), on_a2)).await;
    assert_eq!(q.tick("").await, ["1 -> a2", "2 -> a2"]);
}

#[tokio::test]
async fn a_session_waits_for_its_designated_agent() {
    let q = Queue::with(2).await;
    let on_a1 = json!({"kernels": [{"slots": {"cpu": 3}, "agent": "a1"}]});
    q.enqueued(but(wanting(1, "AK", json!({})), on_a1.clone())).await;
    q.enqueued(but(wanting(2, "AK", json!({})), on_a1)).await;
    assert_eq!(q.tick("").await, ["1 -> a1", "2 waiting designated_agent"]);
    q.run("select occupancy.put_agent('a1', schedulable => false)").await;
    q.release(1).await;
    assert_eq!(q.tick("").await, ["2 waiting designated_agent"]);
    q.run("select occupancy.put_agent('a1', schedulable => true)").await;
    assert_eq!(q.tick("").await, ["2 -> a1"]);
}

#[tokio::test]
async fn a_designated_agent_takes_all_of_a_single_node_session() {
    let q = Queue::with(2).await;
    let pair = json!({"kernels": [{"slots": {"cpu": 2}}, {"slots": {"cpu": 2}, "agent": "a2"}]});
    q.enqueued(but(wanting(1, "AK", json!({})), pair)).await;
    assert_eq!(q.tick("").await, ["1 -> a2 a2"]);
}

#[tokio::test]
async fn kernels_of_a_multi_node_session_may_name_different_agents() {
    let q = Queue::with(3).await;
    let pair = json!({"cluster_mode": "multi-node", "kernels": [
        {"slots": {"cpu": 4}, "agent": "a3"}, {"slots": {"cpu": 4}}, {"slots": {"cpu": 1}, "agent": "a2"}
    ]});
    q.enqueued(but(wanting(1, "AK", json!({})), pair)).await;
    assert_eq!(q.tick("").await, ["1 -> a3 a1 a2"]);
}

#[tokio::test]
async fn a_kernel_that_names_its_agent_gets_it_before_the_others_choose() {
    for selector in ["concentrated", "dispersed", "roundrobin", "legacy"] {
        let q = Queue::with(3).await;
        let three = json!({"cluster_mode": "multi-node", "kernels": [
            {"slots": {"cpu": 4}}, {"slots": {"cpu": 4}, "agent": "a1"}, {"slots": {"cpu": 4}}
        ]});
        q.enqueued(but(wanting(1, "AK", json!({})), three)).await;
        q.enqueued(wanting(2, "AK", json!({"cpu": 1}))).await;
        let answer = q.tick(&format!("selector => '{selector}'")).await;
        assert_eq!(answer, ["1 -> a2 a1 a3", "2 waiting no_agent_fits"], "{selector}");
        // What it tried on the way back is free again.
        let four = json!({"cluster_mode": "multi-node", "kernels": [
            {"slots": {"cpu": 1}}, {"slots": {"cpu": 1}, "agent": "a3"}, {"slots": {"cpu": 9}}
        ]});
        q.release(1).await;
        q.enqueued(but(wanting(3, "AK", json!({})), four)).await;
        let on_a3 = json!({"kernels": [{"slots": {"cpu": 4}, "agent": "a3"}]});
        q.enqueued(but(wanting(4, "AK", json!({})), on_a3)).await;
        let answer = q.tick(&format!("selector => '{selector}'")).await;
        assert_eq!(answer[1..], ["3 waiting no_agent_fits", "4 -> a3"], "{selector}");
    }
}

#[tokio::test]
async fn agents_are_ordered_anew_after_each_placement_for_every_kind_of_request() {
    // Two kinds of requests share three agents; each sees what the other took.
    let agents: Vec<_> = ["a1", "a2", "a3"].map(|a| (a, json!({"cpu": 8, "mem": 8}))).into();
    let q = Queue::on(&agents).await;
    let (cpu, mem) = (json!({"cpu": 3}), json!({"mem": 3}));
    let both = json!({"cpu": 1, "mem": 1});
    let slots = [cpu.clone(), mem.clone(), both.clone(), cpu, mem, both];
    assert_eq!(
        places(&q, "dispersed", &slots).await,
        ["-> a1", "-> a1", "-> a2", "-> a3", "-> a3", "-> a2"]
    );
}

#[tokio::test]
async fn roundrobin_does_not_move_on_for_a_session_that_is_not_placed() {
    let q = Queue::with(3).await;
    q.enqueued(kernels(&[1, 9], "multi-node")).await;
    q.enqueued(wanting(2, "AK", json!({"cpu": 1}))).await;
    let answer = q.tick("selector => 'roundrobin'").await;
    assert_eq!(answer, ["1 waiting no_agent_fits", "2 -> a1"]);
}

#[tokio::test]
async fn a_designated_agent_may_have_any_name() {
    // Names are part of what tells requests apart, which is kept as bytes.
    let names = [r"\x", r"a\101b", "a\\", "\u{e4} \"1\"", "1 a"];
    let agents: Vec<_> = names.iter().map(|name| (*name, json!({"cpu": 1}))).collect();
    let q = Queue::on(&agents).await;
    for (n, agent) in (1..).zip(names) {
        let kernels = json!([{"slots": {"cpu": 1}, "agent": agent}]);
        q.enqueued(but(wanting(n, "AK", json!({})), json!({"kernels": kernels}))).await;
    }
    let expected: Vec<_> = (1..).zip(names).map(|(n, agent)| format!("{n} -> {agent}")).collect();
    assert_eq!(q.tick("").await, expected);
}
