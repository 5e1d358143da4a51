//! Generated inputs, well formed and not, against models of their grammar: none that is wrong is
//! accepted, none that is right refused, each means what the model says, and nothing changes.
//!
//! `OCCUPANCY_TEST_FUZZ_INPUTS` says how many (100,000 without it), `OCCUPANCY_TEST_FUZZ_SEED` which
//! ones. What is found becomes a named case of `tests/slots.rs` or `tests/admission.rs`.

mod amounts;
mod sessions;

use std::env;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value};
use tokio_postgres::Client;

use crate::slots::model;
use crate::support::fixture::Fixture;

/// A stream of choices that a seed repeats.
struct Source(StdRng);

impl Source {
    fn new(number: u64) -> Self {
        Self(StdRng::seed_from_u64(seed().wrapping_mul(1_000_003).wrapping_add(number)))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    fn word(&mut self) -> u64 {
        self.0.random()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect(name))
}

fn seed() -> u64 {
    setting("OCCUPANCY_TEST_FUZZ_SEED", 1)
}

/// How many inputs of a kind that gets one in `share`.
fn inputs(share: u64) -> u64 {
    setting("OCCUPANCY_TEST_FUZZ_INPUTS", 100_000) / share
}

/// Lives in the test's database alone. Answers with what is understood, or with an SQLSTATE.
const UNDERSTOOD: &str = "
    create function public.understood(inputs text[], limits boolean) returns text[]
    language plpgsql as $$
    declare
      answers text[] := '{}';
      input text;
    begin
      foreach input in array inputs loop
        begin
          answers := answers || occupancy.parse_slots(input::jsonb, 'slots', limits)::text;
        exception when others then
          answers := answers || sqlstate::text;
        end;
      end loop;
      return answers;
    end $$";

/// What an amount is.
enum Meaning {
    Nothing,
    /// A request for none of it, which is not stored.
    Zero,
    Stored(String),
}

/// What the model makes of an amount.
fn meaning(amount: &str, limits: bool) -> Meaning {
    let is_infinite = || {
        let text = serde_json::from_str::<String>(amount).unwrap_or_default();
        ["infinity", "inf"].contains(&text.to_ascii_lowercase().as_str())
    };
    match model::json(amount) {
        Some(zero) if zero == "0" && !limits => Meaning::Zero,
        Some(canonical) => Meaning::Stored(canonical),
        None if limits && is_infinite() => Meaning::Stored("Infinity".to_owned()),
        None => Meaning::Nothing,
    }
}

/// What is asked of the server at once, with the answers that are right.
#[derive(Default)]
struct Questions {
    inputs: Vec<String>,
    answers: Vec<Option<Map<String, Value>>>,
}

impl Questions {
    /// So many amounts; those that are understood go together, up to 64 in an object.
    fn of(source: &mut Source, number: u64, limits: bool) -> Self {
        let mut asked = Self::default();
        let (mut together, mut stored) = (Vec::new(), Map::new());
        for _ in 0..number {
            let amount = amounts::written(source);
            let name = format!("s{}", together.len());
            match meaning(&amount, limits) {
                Meaning::Nothing => {
                    asked.push(format!(r#"{{"cpu": {amount}}}"#), None);
                    continue;
                }
                Meaning::Zero => {}
                Meaning::Stored(text) => drop(stored.insert(name.clone(), Value::from(text))),
            }
            together.push(format!(r#""{name}": {amount}"#));
            if together.len() == 64 {
                let object = format!("{{{}}}", together.join(", "));
                asked.push(object, Some(std::mem::take(&mut stored)));
                together.clear();
            }
        }
        asked.push(format!("{{{}}}", together.join(", ")), Some(stored));
        asked
    }

    fn push(&mut self, input: String, answer: Option<Map<String, Value>>) {
        self.inputs.push(input);
        self.answers.push(answer);
    }

    async fn ask(&self, client: &Client, limits: bool) {
        let sql = "select public.understood($1, $2)";
        let row = client.query_one(sql, &[&self.inputs, &limits]).await.expect("answered");
        let answers: Vec<String> = row.get(0);
        assert_eq!(answers.len(), self.answers.len());
        for ((input, right), answer) in self.inputs.iter().zip(&self.answers).zip(answers) {
            match right {
                None => assert_eq!(answer, "OC001", "limits {limits}: {input}"),
                Some(right) => {
                    let stored = serde_json::from_str::<Map<String, Value>>(&answer).ok();
                    assert_eq!(stored.as_ref(), Some(right), "limits {limits}: {answer}: {input}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_generated_amount_means_what_the_model_says() {
    const AT_ONCE: u64 = 5_000;
    let f = Fixture::new().await;
    f.run(UNDERSTOOD).await;
    let before = f.snapshot().await;
    let rounds = inputs(1).div_ceil(AT_ONCE);
    for round in 0..rounds {
        let limits = round % 3 == 2;
        let questions = Questions::of(&mut Source::new(round), AT_ONCE, limits);
        questions.ask(&f.client, limits).await;
    }
    assert_eq!(before, f.snapshot().await);
}

#[tokio::test]
async fn every_generated_session_is_refused_as_the_model_says() {
    const AT_ONCE: u64 = 200;
    let f = Fixture::new().await;
    let before = f.snapshot().await;
    for round in 0..inputs(20).div_ceil(AT_ONCE) {
        let mut source = Source::new(1 << 40 | round);
        let elements: Vec<_> = (0..AT_ONCE).map(|_| sessions::written(&mut source)).collect();
        let answers = f.reserve_all(&elements).await;
        assert_eq!(answers.len(), elements.len());
        for (element, answer) in elements.iter().zip(answers) {
            assert_eq!(answer["outcome"], "invalid", "{element}");
            assert_eq!(answer["code"], sessions::refusal(element), "{element}: {answer}");
        }
    }
    assert_eq!(before, f.snapshot().await);
    f.assert_sound().await;
}

/// Lives in the test's database alone. Lets sessions wait whose kernels are these, and answers with
/// SQLSTATEs.
const ENQUEUED: &str = "
    create function public.enqueued(kernels jsonb[], multi_node boolean[]) returns text[]
    language plpgsql as $$
    declare
      answers text[] := '{}';
    begin
      for i in 1 .. cardinality(kernels) loop
        begin
          perform occupancy.enqueue_session(
            gen_random_uuid(), 'nobody', kernels[i],
            cluster_mode => case when multi_node[i] then 'multi-node' else 'single-node' end);
          answers := answers || 'accepted'::text;
        exception when others then
          answers := answers || sqlstate::text;
        end;
      end loop;
      return answers;
    end $$";

#[tokio::test]
async fn every_generated_session_that_wants_to_wait_is_refused_as_the_model_says() {
    const AT_ONCE: u64 = 200;
    let f = Fixture::new().await;
    f.run(ENQUEUED).await;
    let before = f.snapshot().await;
    for round in 0..inputs(20).div_ceil(AT_ONCE) {
        let mut source = Source::new(1 << 41 | round);
        let kernels: Vec<Value> = (0..AT_ONCE).map(|_| sessions::waiting(&mut source)).collect();
        let multi_node: Vec<bool> = (0..AT_ONCE).map(|_| source.one_in(2)).collect();
        let sql = "select public.enqueued($1, $2)";
        let row = f.client.query_one(sql, &[&kernels, &multi_node]).await.expect("answered");
        let answers: Vec<String> = row.get(0);
        for ((kernels, multi_node), answer) in kernels.iter().zip(multi_node).zip(answers) {
            let right = sessions::waiting_refusal(kernels, multi_node);
            assert_eq!(answer, right, "multi-node {multi_node}: {kernels}");
        }
    }
    assert_eq!(before, f.snapshot().await);
    f.assert_sound().await;
}

/// Texts that are hardly JSON any more: an answer or a clear error, never a crash.
#[tokio::test]
async fn a_batch_with_random_damage_is_answered_or_refused() {
    let f = Fixture::new().await;
    let before = f.snapshot().await;
    let mut source = Source::new(1 << 50);
    for _ in 0..inputs(100) {
        let elements: Vec<_> = (0..3).map(|_| sessions::written(&mut source)).collect();
        let mut text: Vec<char> = Value::from(elements).to_string().chars().collect();
        for _ in 0..=source.below(4) {
            let at = source.below(text.len());
            match source.below(3) {
                0 => text[at] = source.pick(&['"', '{', '}', '[', ']', ',', ':', '\\', '0', 'é']),
                1 if text.len() > 1 => drop(text.remove(at)),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        let sql = "select outcome, code from occupancy.reserve_sessions($1::text::jsonb)";
        match f.client.query(sql, &[&text]).await {
            Ok(rows) => {
                let outcomes = rows.iter().map(|row| row.get::<_, &str>(0));
                assert!(outcomes.into_iter().all(|outcome| outcome == "invalid"), "{text}");
            }
            Err(error) => {
                let code = error.code().expect("the server's").code();
                assert!(code == "OC005" || code.starts_with("22"), "{code}: {text}");
            }
        }
    }
    assert_eq!(before, f.snapshot().await);
}
