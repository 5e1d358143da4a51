//! The functions against a plain model: random calls drive both, and after each call everything
//! that can be counted is compared, and the call's own answer.
//!
//! A failure is shortened to few calls that still show it.

mod calls;
mod world;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use self::calls::{Reservation, Step, Written, script, session_id};
use self::world::{Agent, Key, Policy, Quota, World};
use crate::support::platform::{
    Admission, Call, Platform, release, release_batch, release_kernel, reserve, reserve_batch,
    settle, sqlstate, terminate,
};
use crate::support::shorten::{Failure, shorten};

/// How many lists of calls are played.
const LISTS: usize = 6;

/// What every list of calls starts from, so that most of the calls make sense.
const PRELUDE: &str = r#"
    truncate occupancy.session, occupancy.session_concurrency, occupancy.kernel, occupancy.quota,
             occupancy.agent, occupancy.keypair, occupancy.resource_policy;
    select occupancy.put_resource_policy('P0', 5, 2, '{"cpu": 10, "mem": "Infinity"}', 'UNLIMITED');
    select occupancy.put_keypair('K' || n, 'u' || n % 2, 'P0', domain => 'd0')
      from generate_series(0, 2) as n;
    select occupancy.put_agent('a' || n, '{"cpu": 10, "mem": "1k", "cuda.shares": 3}', 'g0')
      from generate_series(0, 3) as n;"#;

/// What [`PRELUDE`] does.
fn prelude() -> World {
    let one = world::ONE;
    let mut world = World::default();
    let total = [("cpu", Some(10 * one)), ("mem", None)].into();
    let (max_sessions, max_system) = (Some(5), Some(2));
    let policy =
        Policy { max_sessions, max_system, total: Some(total), limited: false, max_kernels: None };
    world.policies.insert("P0".to_owned(), policy);
    for n in 0..3 {
        let (user, domain) = (format!("u{}", n % 2), Some("d0".to_owned()));
        let key = Key { user, domain, policy: "P0".to_owned(), active: true };
        world.keys.insert(format!("K{n}"), key);
    }
    for n in 0..4 {
        let available = [("cpu", 10 * one), ("mem", 1024 * one), ("cuda.shares", 3 * one)].into();
        let agent = Agent { group: "g0".to_owned(), status: "ALIVE", schedulable: true, available };
        world.agents.insert(format!("a{n}"), agent);
    }
    world
}

/// Everything that can be counted, in the form of [`World::picture`].
const PICTURE: &str = "
    select jsonb_build_object(
      'keys', (select coalesce(jsonb_object_agg(access_key,
                 jsonb_build_array(compute_used, system_used, occupied_slots)), '{}')
               from occupancy.concurrency),
      'agents', (select coalesce(jsonb_object_agg(agent_id, occupied_slots), '{}')
                 from occupancy.agent_occupancy),
      'quotas', (select coalesce(jsonb_object_agg(scope || ' ' || scope_id,
                   jsonb_build_array(used, occupied_slots)), '{}') from occupancy.quotas),
      'sessions', (select coalesce(jsonb_object_agg(session_id, status), '{}')
                   from occupancy.session),
      'slots', (select coalesce(jsonb_object_agg(session_id, access_key), '{}')
                from occupancy.session_concurrency),
      'kernels', (select coalesce(jsonb_object_agg(kernel_id, occupied_slots), '{}')
                  from occupancy.kernels)),
    array(select audit::text from occupancy.audit() as audit)";

/// The database beside its model.
struct Pair<'a> {
    client: &'a Client,
    world: World,
    /// The last reservations, for repeats.
    recent: Vec<Reservation>,
}

/// What a call was answered, on one side or the other.
type Answer = Result<Value, String>;

fn answered<T: Into<Value>>(result: Result<T, tokio_postgres::Error>) -> Answer {
    match sqlstate(&result) {
        Some(code) => Err(code.to_owned()),
        None => Ok(result.expect("no error").into()),
    }
}

fn mistaken<T: Into<Value>>(result: Result<T, &str>) -> Answer {
    result.map(Into::into).map_err(str::to_owned)
}

/// An admission in the form of the model's.
fn admission_json(answer: &Admission) -> Value {
    let mut violations = answer.violations.as_array().cloned().unwrap_or_default();
    for violation in &mut violations {
        violation.as_object_mut().expect("an object").remove("message");
    }
    json!({
        "outcome": answer.outcome, "code": answer.code, "used": answer.used, "max": answer.max,
        "violations": violations, "kernels": answer.kernels.as_array().cloned().unwrap_or_default(),
    })
}

fn call_of(reservation: &Reservation) -> Call {
    let request = reservation.request();
    Call {
        session_id: request.id,
        access_key: request.key,
        kernels: reservation.kernels(),
        session_type: request.session_type.to_owned(),
        project: request.project,
    }
}

fn name(prefix: &str, n: u8) -> String {
    format!("{prefix}{n}")
}

/// The id of a quota: the same names as those of users, projects, groups and domains.
fn scope_id(scope: &str, n: u8) -> String {
    name(if scope == "resource_group" { "g" } else { &scope[..1] }, n)
}

fn unspecified(limited: bool) -> &'static str {
    if limited { "LIMITED" } else { "UNLIMITED" }
}

/// What registering answers when this was there before.
fn put<T>(before: Option<&T>) -> Value {
    if before.is_some() { "replaced" } else { "created" }.into()
}

impl Pair<'_> {
    /// Makes a call on both sides: what the functions answered, and what the model expects.
    async fn step(&mut self, step: &Step) -> (Answer, Answer) {
        match step {
            Step::PutPolicy { .. } => self.put_policy(step).await,
            Step::PutKeypair { .. } => self.put_keypair(step).await,
            Step::PutQuota { .. } => self.put_quota(step).await,
            Step::PutAgent { .. } => self.put_agent(step).await,
            Step::DropPolicy(_)
            | Step::DropKeypair(_)
            | Step::DropQuota(..)
            | Step::DropAgent(_) => self.drop(step).await,
            Step::Reserve(reservation) => self.reserve(reservation).await,
            Step::Repeat(n) => match self.recent.iter().rev().nth(*n).cloned() {
                Some(reservation) => self.reserve(&reservation).await,
                None => (Ok(Value::Null), Ok(Value::Null)),
            },
            Step::ReserveBatch(batch) => self.reserve_batch(batch).await,
            Step::Check(reservation) => self.check(reservation).await,
            _ => self.end(step).await,
        }
    }

    async fn ask(&self, sql: &str, arguments: &[(&(dyn ToSql + Sync), Type)]) -> Answer {
        let rows = self.client.query_typed(sql, arguments).await;
        answered(rows.map(|rows| rows[0].get::<_, Value>(0)))
    }

    async fn put_policy(&mut self, step: &Step) -> (Answer, Answer) {
        let Step::PutPolicy { policy, max_sessions, max_system, total, limited, max_kernels } =
            step
        else {
            unreachable!("{step:?}");
        };
        let policy = name("P", *policy);
        let seen = self
            .ask(
                "select to_jsonb(outcome) from occupancy.put_resource_policy(
                   $1, $2, $3, $4, $5, max_kernels_per_session => $6)",
                &[
                    (&policy, Type::TEXT),
                    (max_sessions, Type::INT8),
                    (max_system, Type::INT8),
                    (&total.as_ref().map(Written::json), Type::JSONB),
                    (&unspecified(*limited), Type::TEXT),
                    (max_kernels, Type::INT8),
                ],
            )
            .await;
        let stored = Policy {
            max_sessions: *max_sessions,
            max_system: *max_system,
            total: total.as_ref().map(Written::limits),
            limited: *limited,
            max_kernels: *max_kernels,
        };
        (seen, Ok(put(self.world.policies.insert(policy, stored).as_ref())))
    }

    async fn put_keypair(&mut self, step: &Step) -> (Answer, Answer) {
        let Step::PutKeypair { key, user, policy, active, domain } = step else {
            unreachable!("{step:?}");
        };
        let (key, user, policy) = (name("K", *key), name("u", *user), name("P", *policy));
        let domain = domain.map(|domain| name("d", domain));
        let seen = self
            .ask(
                "select to_jsonb(outcome) from occupancy.put_keypair($1, $2, $3, $4, $5)",
                &[
                    (&key, Type::TEXT),
                    (&user, Type::TEXT),
                    (&policy, Type::TEXT),
                    (active, Type::BOOL),
                    (&domain, Type::TEXT),
                ],
            )
            .await;
        if !self.world.policies.contains_key(&policy) {
            return (seen, Err("OC005".to_owned()));
        }
        let stored = Key { user, domain, policy, active: *active };
        (seen, Ok(put(self.world.keys.insert(key, stored).as_ref())))
    }

    async fn put_quota(&mut self, step: &Step) -> (Answer, Answer) {
        let Step::PutQuota { scope, id, max_sessions, total, limited } = step else {
            unreachable!("{step:?}");
        };
        let id = scope_id(scope, *id);
        let seen = self
            .ask(
                "select to_jsonb(outcome) from occupancy.put_quota($1, $2, $3, $4, $5)",
                &[
                    (scope, Type::TEXT),
                    (&id, Type::TEXT),
                    (max_sessions, Type::INT8),
                    (&total.as_ref().map(Written::json), Type::JSONB),
                    (&unspecified(*limited), Type::TEXT),
                ],
            )
            .await;
        let stored = Quota {
            max_sessions: *max_sessions,
            total: total.as_ref().map(Written::limits),
            limited: *limited,
        };
        (seen, Ok(put(self.world.quotas.insert((*scope, id), stored).as_ref())))
    }

    async fn put_agent(&mut self, step: &Step) -> (Answer, Answer) {
        let Step::PutAgent { agent: id, available, group, status, schedulable } = step else {
            unreachable!("{step:?}");
        };
        let (id, group) = (name("a", *id), group.map(|group| name("g", group)));
        let seen = self
            .ask(
                "select to_jsonb(outcome) from occupancy.put_agent(
                   $1, $2, resource_group => $3, status => $4, schedulable => $5)",
                &[
                    (&id, Type::TEXT),
                    (&available.as_ref().map(Written::json), Type::JSONB),
                    (&group, Type::TEXT),
                    (status, Type::TEXT),
                    (schedulable, Type::BOOL),
                ],
            )
            .await;
        let available = available.as_ref().map(Written::slots);
        let expected = match (self.world.agents.get(&id), available) {
            (None, None) => return (seen, Err("OC005".to_owned())),
            (before, available) => Agent {
                available: available.or(before.map(|b| b.available.clone())).unwrap_or_default(),
                group: group
                    .or(before.map(|before| before.group.clone()))
                    .unwrap_or_else(|| "default".to_owned()),
                status: status.unwrap_or("ALIVE"),
                schedulable: schedulable.or(before.map(|b| b.schedulable)).unwrap_or(true),
            },
        };
        (seen, Ok(put(self.world.agents.insert(id, expected).as_ref())))
    }

    async fn drop(&mut self, step: &Step) -> (Answer, Answer) {
        let (call, expected) = match step {
            Step::DropPolicy(n) => {
                let id = name("P", *n);
                (format!("drop_resource_policy('{id}')"), self.world.drop_policy(&id))
            }
            Step::DropKeypair(n) => {
                let id = name("K", *n);
                (format!("drop_keypair('{id}')"), self.world.drop_key(&id))
            }
            Step::DropQuota(scope, n) => {
                let id = scope_id(scope, *n);
                (format!("drop_quota('{scope}', '{id}')"), self.world.drop_quota(scope, &id))
            }
            Step::DropAgent(n) => {
                let id = name("a", *n);
                (format!("drop_agent('{id}')"), self.world.drop_agent(&id))
            }
            _ => unreachable!("{step:?}"),
        };
        let sql = format!("select to_jsonb(outcome) from occupancy.{call}");
        (self.ask(&sql, &[]).await, Ok(expected.into()))
    }

    /// The ids that were generated are news to the model.
    fn learn(&mut self, answer: &Admission, expected: &mut Value) {
        if answer.outcome != "admitted" || expected["outcome"] != "admitted" {
            return;
        }
        let ids = answer.kernel_ids();
        self.world.learn(answer.session_id.expect("a session"), &ids);
        for (kernel, id) in expected["kernels"].as_array_mut().into_iter().flatten().zip(ids) {
            if kernel["kernel_id"].is_null() {
                kernel["kernel_id"] = json!(id);
            }
        }
    }

    async fn reserve(&mut self, reservation: &Reservation) -> (Answer, Answer) {
        self.recent.push(reservation.clone());
        let seen = reserve(self.client, &call_of(reservation)).await;
        let mut expected = self.world.reserve(&reservation.request());
        if let (Ok(seen), Ok(expected)) = (&seen, &mut expected) {
            self.learn(seen, expected);
        }
        (answered(seen.map(|answer| admission_json(&answer))), mistaken(expected))
    }

    async fn reserve_batch(&mut self, batch: &[Reservation]) -> (Answer, Answer) {
        self.recent.extend_from_slice(batch);
        let calls: Vec<Call> = batch.iter().map(call_of).collect();
        let answers = match reserve_batch(self.client, &calls).await {
            Ok(answers) => answers,
            failed => return (answered(failed.map(|_| Value::Null)), Ok(json!("a batch"))),
        };
        let mut expected = Vec::new();
        for (n, reservation) in batch.iter().enumerate() {
            expected.push(match self.world.reserve(&reservation.request()) {
                Ok(mut expected) => {
                    if let Some(answer) = answers.get(n) {
                        self.learn(answer, &mut expected);
                    }
                    expected
                }
                Err(code) => json!({
                    "outcome": "invalid", "code": code, "used": null, "max": null,
                    "violations": [], "kernels": [],
                }),
            });
        }
        let seen: Vec<Value> = answers.iter().map(admission_json).collect();
        (Ok(seen.into()), Ok(expected.into()))
    }

    /// What was found to be violated, in order, a subject once.
    async fn check(&mut self, reservation: &Reservation) -> (Answer, Answer) {
        let call = call_of(reservation);
        let seen = self
            .ask(
                "select coalesce(jsonb_agg(jsonb_build_array(predicate, scope_id) order by n)
                                 filter (where not passed), '[]')
                 from occupancy.check_session($1, $2, $3, $4, $5) with ordinality as c (
                   predicate, passed, code, message, used, requested, max, scope, scope_id, n)",
                &[
                    (&call.session_id, Type::UUID),
                    (&call.access_key, Type::TEXT),
                    (&call.kernels, Type::JSONB),
                    (&call.session_type, Type::TEXT),
                    (&call.project, Type::TEXT),
                ],
            )
            .await;
        let request = reservation.request();
        let expected = self.world.known(&request).and_then(|known| match known {
            Some("session_ended") => Ok(json!([["session_ended", request.id]])),
            Some(_) => Ok(json!([])),
            None if self.world.conflicts(&request) => Err("OC006"),
            None => {
                let subject = |violation: &Value| json!([violation["code"], violation["scope_id"]]);
                let mut subjects: Vec<Value> =
                    self.world.violations(&request).iter().map(subject).collect();
                subjects.dedup();
                Ok(subjects.into())
            }
        });
        (seen, mistaken(expected))
    }

    async fn end(&mut self, step: &Step) -> (Answer, Answer) {
        let kernel = |world: &World, n: usize| {
            let ids = world.kernel_ids();
            // One that nobody ever reserved, if there is none.
            if ids.is_empty() { Uuid::nil() } else { ids[n % ids.len()] }
        };
        match step {
            Step::Release(n) => {
                let id = session_id(*n);
                let seen = release(self.client, id).await;
                (answered(seen), Ok(self.world.release(id).into()))
            }
            Step::ReleaseBatch(batch) => {
                let ids: Vec<Uuid> = batch.iter().map(|n| session_id(*n)).collect();
                let seen = release_batch(self.client, &ids).await;
                let expected: Vec<&str> = ids.iter().map(|id| self.world.release(*id)).collect();
                (answered(seen), Ok(expected.into()))
            }
            Step::Terminate(n) => {
                let id = session_id(*n);
                let seen = terminate(self.client, id).await;
                (answered(seen), Ok(self.world.terminate(id).into()))
            }
            Step::ReleaseKernel(n) => {
                let id = kernel(&self.world, *n);
                let seen = release_kernel(self.client, id).await.map(|answer| json!(answer));
                (answered(seen), Ok(json!(self.world.release_kernel(id))))
            }
            Step::Settle(n, slots) => {
                let id = kernel(&self.world, *n);
                let seen = settle(self.client, id, &slots.json()).await;
                (answered(seen), mistaken(self.world.settle(id, &slots.slots())))
            }
            Step::Clear(n) => {
                let key = name("K", *n);
                let sql = "select to_jsonb(occupancy.clear_concurrency($1))";
                (self.ask(sql, &[(&key, Type::TEXT)]).await, mistaken(self.world.clear(&key)))
            }
            Step::Prune => {
                let sql = "select to_jsonb(occupancy.prune_ended('0'))";
                (self.ask(sql, &[]).await, Ok(self.world.prune().into()))
            }
            // Nothing is ever wrong.
            _ => {
                let sql = "select jsonb_agg(to_jsonb(c)) from (
                             select * from occupancy.recalc_concurrency_fullscan()
                             union all select * from occupancy.recalc_agents_fullscan()
                             union all select * from occupancy.recalc_quotas_fullscan()) as c";
                let sql = format!("select coalesce(({sql}), '[]')");
                (self.ask(&sql, &[]).await, Ok(json!([])))
            }
        }
    }
}

/// Drives both sides through all steps, and compares after each.
async fn play(platform: &Platform, steps: &[Step]) -> Result<(), Failure> {
    let client = &platform.admin;
    platform.run(PRELUDE).await;
    let picture = client.prepare(PICTURE).await.expect("the picture can be taken");
    let mut pair = Pair { client, world: prelude(), recent: Vec::new() };
    for (n, step) in (1..).zip(steps) {
        let (seen, expected) = pair.step(step).await;
        if seen != expected {
            return Err((n, format!("answered {seen:?}\nexpected {expected:?}")));
        }
        let row = client.query_one(&picture, &[]).await.expect("the picture is taken");
        let (seen, findings): (Value, Vec<String>) = (row.get(0), row.get(1));
        let expected = pair.world.picture();
        if seen != expected || !findings.is_empty() {
            return Err((n, format!("there is {seen}\nexpected {expected}\n{findings:?}")));
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_call_does_and_answers_what_the_model_says() {
    let platform = Platform::new("").await;
    let mut runner = TestRunner::default();
    for _ in 0..LISTS {
        let steps = script().new_tree(&mut runner).expect("a list of calls").current();
        if let Err(failure) = play(&platform, &steps).await {
            let steps = shorten(steps, failure, async |steps| play(&platform, steps).await).await;
            panic!("the last of these calls fails:\n{steps}");
        }
    }
}
