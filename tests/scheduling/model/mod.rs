//! The queue against a plain model: random calls drive both, and after each call everything that can
//! be counted is compared, and the call's own answer: who was looked at in which order, who got which
//! agent, and every reason of the others with its amounts.
//!
//! A failure is shortened to few calls that still show it.

mod calls;
mod world;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use self::calls::{Step, script};
use self::world::{Agent, Key, Limits, Policy, Request, Slots, World};
use crate::support::fixture::id;
use crate::support::platform::{Platform, ask, sqlstate};
use crate::support::shorten::{Failure, shorten};

/// How many lists of calls are played: `OCCUPANCY_TEST_QUEUE_LISTS`, or else so many.
const LISTS: usize = 4;

fn lists() -> usize {
    std::env::var("OCCUPANCY_TEST_QUEUE_LISTS")
        .map_or(LISTS, |lists| lists.parse().expect("OCCUPANCY_TEST_QUEUE_LISTS is a number"))
}

/// The time is what a table says.
const CLOCK: &str = "
    create table public.model_clock (minute integer);
    insert into public.model_clock values (0);
    grant select on public.model_clock to public;
    create or replace function occupancy.clock() returns timestamptz
    language sql volatile parallel safe
    as $$ select timestamptz '2030-01-01 00:00Z' + minute * interval '1 min' from public.model_clock $$;
    create function public.told(violations jsonb) returns text language sql as $$
      select string_agg(case v.v ->> 'code'
        when 'start_time' then concat_ws('|', v.v ->> 'code', v.v ->> 'scope_id')
        else concat_ws('|', v.v ->> 'code', v.v ->> 'scope_id', v.v ->> 'slot', v.v ->> 'used',
          case jsonb_typeof(v.v -> 'requested')
            when 'object' then occupancy.slots_words(v.v -> 'requested') else v.v ->> 'requested' end,
          case jsonb_typeof(v.v -> 'max')
            when 'object' then occupancy.slots_words(v.v -> 'max') else v.v ->> 'max' end)
        end, ' ' order by v.n)
      from jsonb_array_elements(violations) with ordinality as v (v, n) $$;";

/// What every list of calls starts from, so that most of the calls make sense.
const PRELUDE: &str = r#"
    truncate occupancy.session, occupancy.session_concurrency, occupancy.kernel, occupancy.quota,
             occupancy.agent, occupancy.keypair, occupancy.resource_policy, occupancy.queued_session,
             occupancy.queued_kernel, occupancy.session_dependency, occupancy.key_queue,
             occupancy.session_history, occupancy.scheduled_group, occupancy.queued_reason;
    update public.model_clock set minute = 0;
    select occupancy.put_resource_policy('P');
    select occupancy.put_keypair('K' || n, 'u' || n % 2, 'P', domain => 'd0')
      from generate_series(0, 2) as n;
    select occupancy.put_agent('a' || n, '{"cpu": 4, "mem": 4, "cuda.shares": 1}', 'g0')
      from generate_series(0, 2) as n;
    select occupancy.put_agent('a' || n, '{"cpu": 4, "mem": 8}', 'g0')
      from generate_series(3, 4) as n;
    select occupancy.put_agent('a5', '{"cpu": 8}', 'g1');"#;

/// What [`PRELUDE`] does.
fn prelude() -> World {
    let mut world = World::default();
    for n in 0..3 {
        world.keys.insert(format!("K{n}"), Key { user: format!("u{}", n % 2), active: true });
    }
    for n in 0..6 {
        let available: Slots = match n {
            0..=2 => [("cpu", 40), ("mem", 40), ("cuda.shares", 10)].into(),
            3..=4 => [("cpu", 40), ("mem", 80)].into(),
            _ => [("cpu", 80)].into(),
        };
        let group = if n == 5 { "g1" } else { "g0" }.to_owned();
        world.agents.insert(format!("a{n}"), Agent { group, usable: true, available });
    }
    world
}

/// Everything that can be counted, in the form of [`World::picture`], and what the audit finds.
const PICTURE: &str = "
    select array(select line from (
      select format('key %s: %s %s %s, %s %s', c.access_key, c.compute_used, c.system_used,
               occupancy.slots_words(c.occupied_slots), coalesce(q.sessions, 0),
               occupancy.slots_words(coalesce(q.slots, '{}')))
      from occupancy.concurrency c left join occupancy.key_queue q using (access_key)
      union all
      select format('agent %s: %s', agent_id, occupancy.slots_words(occupied_slots))
      from occupancy.agent_occupancy
      union all
      select format('quota %s %s: %s %s', scope, scope_id, used, occupancy.slots_words(occupied_slots))
      from occupancy.quotas
      union all
      select format('session %s: %s %s %s', ('x' || right(s.session_id::text, 8))::bit(32)::integer,
               occupancy.session_status(s.status, s.stage), coalesce(q.tries, 0),
               (select string_agg(k.agent_id, ' ' order by k.position)
                from occupancy.kernel k where k.session_id = s.session_id))
      from occupancy.session s left join occupancy.queue q using (session_id)
    ) as l (line) order by line collate \"C\"),
    array(select audit::text from occupancy.audit() as audit)";

type Answer = Result<String, String>;

/// The database beside its model.
struct Pair<'a> {
    client: &'a Client,
    world: World,
    /// The last sessions that wanted to wait, for repeats.
    recent: Vec<(u8, Request)>,
}

fn session(n: u8) -> Uuid {
    id(u128::from(n))
}

fn amounts(slots: &Slots) -> Value {
    let amount =
        |(name, n): (&&str, &i64)| ((*name).to_owned(), json!(format!("{}.{}", n / 10, n % 10)));
    slots.iter().map(amount).collect()
}

fn or_null(value: Option<impl ToString>) -> String {
    value.map_or("null".to_owned(), |value| value.to_string())
}

fn quoted(value: Option<&Slots>) -> String {
    value.map_or("null".to_owned(), |slots| format!("'{}'", amounts(slots)))
}

fn total_and_default(limits: &Limits) -> String {
    let default = if limits.limited { "LIMITED" } else { "UNLIMITED" };
    format!("{}, '{default}'", quoted(limits.total.as_ref()))
}

fn kernels(request: &Request) -> Value {
    let kernel =
        |(agent, slots): &(Option<String>, Slots)| json!({"agent": agent, "slots": amounts(slots)});
    request.kernels.iter().map(kernel).collect()
}

impl Pair<'_> {
    async fn ask(&self, sql: &str) -> Answer {
        let answer = ask(self.client, sql).await;
        match sqlstate(&answer) {
            Some(code) => Err(code.to_owned()),
            None => Ok(answer.expect("no error").unwrap_or_default()),
        }
    }

    async fn outcome(&self, call: &str, n: u8) -> Answer {
        self.ask(&format!("select outcome from occupancy.{call}('{}')", session(n))).await
    }

    async fn enqueue(&mut self, n: u8, request: &Request) -> (Answer, Answer) {
        let Request { key, session_type, group, priority, .. } = request;
        let dependencies: Vec<_> =
            request.dependencies.iter().map(|n| session(*n).to_string()).collect();
        let starts_at = request.starts_at.map_or("null".to_owned(), |minute| {
            format!("timestamptz '2030-01-01 00:00Z' + {minute} * interval '1 min'")
        });
        let sql = format!(
            "select concat_ws(' ', outcome, public.told(violations)) from occupancy.enqueue_session(
               '{}', '{key}', '{}', '{session_type}', {}, '{group}', {priority}, {starts_at},
               '{{{}}}', '{}')",
            session(n),
            kernels(request),
            request.project.as_ref().map_or("null".to_owned(), |project| format!("'{project}'")),
            dependencies.join(","),
            if request.multi_node { "multi-node" } else { "single-node" },
        );
        let expected = self.world.enqueue(n, request);
        (self.ask(&sql).await, expected.map_err(str::to_owned))
    }

    async fn reserve(&mut self, n: u8, request: &Request) -> (Answer, Answer) {
        let Some(admitted) = self.world.reserve(n, request) else { return Self::nothing() };
        let sql = format!(
            "select outcome from occupancy.reserve_session('{}', '{}', '{}', '{}', {})",
            session(n),
            request.key,
            kernels(request),
            request.session_type,
            request.project.as_ref().map_or("null".to_owned(), |project| format!("'{project}'")),
        );
        let expected = if admitted { "admitted" } else { "rejected" };
        (self.ask(&sql).await, Ok(expected.to_owned()))
    }

    fn nothing() -> (Answer, Answer) {
        (Ok(String::new()), Ok(String::new()))
    }

    async fn put_policy(&mut self, policy: &Policy) {
        let sql = format!(
            "select occupancy.put_resource_policy('P', {}, {}, {}, {}, {}, {})",
            or_null(policy.limits.max_sessions),
            or_null(policy.max_system),
            total_and_default(&policy.limits),
            or_null(policy.max_pending),
            quoted(policy.max_pending_slots.as_ref()),
            or_null(policy.max_kernels),
        );
        self.ask(&sql).await.expect("registered");
        self.world.policy = policy.clone();
    }

    async fn register(&mut self, step: &Step) {
        match step {
            Step::PutPolicy(policy) => self.put_policy(policy).await,
            Step::PutKey { key, user, active } => {
                let (key, user) = (format!("K{key}"), format!("u{user}"));
                let sql =
                    format!("select occupancy.put_keypair('{key}', '{user}', 'P', {active}, 'd0')");
                self.ask(&sql).await.expect("registered");
                self.world.keys.insert(key, Key { user, active: *active });
            }
            Step::PutQuota { scope, limits } => {
                let id =
                    if *scope == "resource_group" { "g0" } else { &format!("{}0", &scope[..1]) };
                let max = or_null(limits.max_sessions);
                let rest = total_and_default(limits);
                let sql = format!("select occupancy.put_quota('{scope}', '{id}', {max}, {rest})");
                self.ask(&sql).await.expect("registered");
                self.world.quotas.insert((scope, id.to_owned()), limits.clone());
            }
            Step::PutAgent { agent, group, usable, available } => {
                let (id, group) = (format!("a{agent}"), format!("g{group}"));
                // One way or the other to be no place for anybody.
                let status = if *usable || agent % 2 == 0 { "ALIVE" } else { "LOST" };
                let schedulable = *usable || agent % 2 == 1;
                let sql = format!(
                    "select occupancy.put_agent('{id}', '{}', '{group}', '{status}', {schedulable})",
                    amounts(available)
                );
                self.ask(&sql).await.expect("registered");
                let available = available.clone();
                self.world.agents.insert(id, Agent { group, usable: *usable, available });
            }
            _ => unreachable!("{step:?}"),
        }
    }

    /// Makes a call on both sides: what the functions answered, and what the model expects.
    async fn step(&mut self, step: &Step) -> (Answer, Answer) {
        let expected = match step {
            Step::Enqueue(n, request) => {
                self.recent.push((*n, request.clone()));
                return self.enqueue(*n, request).await;
            }
            Step::Repeat(back) => {
                let Some((n, request)) = self.recent.iter().rev().nth(*back).cloned() else {
                    return Self::nothing();
                };
                return self.enqueue(n, &request).await;
            }
            Step::Reserve(n, request) => return self.reserve(*n, request).await,
            Step::Tick(tick) => {
                let sql = format!(
                    "select string_agg(concat_ws(' ',
                       ('x' || right(a.session_id::text, 8))::bit(32)::integer, a.outcome,
                       (select string_agg(k.kernel ->> 'agent', ' ' order by k.position)
                        from jsonb_array_elements(a.kernels) with ordinality as k (kernel, position)),
                       public.told(a.violations)), E'\\n' order by a.ordinality)
                     from occupancy.schedule_sessions('g{}', {}, '{}', '{}', {})
                       with ordinality as a (session_id, outcome, code, message, violations, kernels)",
                    tick.group, tick.most, tick.policy, tick.selector, tick.tries
                );
                return (self.ask(&sql).await, Ok(self.world.tick(tick).join("\n")));
            }
            Step::Cancel(n) => {
                (self.outcome("cancel_session", *n).await, Ok(self.world.cancel(*n).to_owned()))
            }
            Step::Release(n) => {
                (self.outcome("release_session", *n).await, Ok(self.world.release(*n).to_owned()))
            }
            Step::Terminate(n) => (
                self.outcome("terminate_session", *n).await,
                Ok(self.world.terminate(*n).to_owned()),
            ),
            Step::SetStatus(n, status) => {
                let sql = format!(
                    "select outcome from occupancy.set_session_status('{}', '{status}')",
                    session(*n)
                );
                (self.ask(&sql).await, self.world.set_status(*n, status))
            }
            Step::Expire(minutes) => {
                let sql = format!("select occupancy.expire_pending('{minutes} min')");
                (self.ask(&sql).await, Ok(self.world.expire(*minutes).to_string()))
            }
            Step::Prune => (
                self.ask("select occupancy.prune_ended('0')").await,
                Ok(self.world.prune().to_string()),
            ),
            Step::Pass(minutes) => {
                self.world.now += minutes;
                let sql = format!("update public.model_clock set minute = {}", self.world.now);
                self.client.batch_execute(&sql).await.expect("time passes");
                return Self::nothing();
            }
            // Nothing is ever wrong.
            Step::Recalculate => {
                let sql = "select count(*) from occupancy.recalc_concurrency_fullscan()";
                (self.ask(sql).await, Ok("0".to_owned()))
            }
            _ => {
                self.register(step).await;
                return Self::nothing();
            }
        };
        (expected.0, expected.1.map_err(str::to_owned))
    }
}

/// Drives both sides through all steps, and compares after each.
async fn play(platform: &Platform, steps: &[Step]) -> Result<(), Failure> {
    platform.run(PRELUDE).await;
    let picture = platform.admin.prepare(PICTURE).await.expect("the picture can be taken");
    let mut pair = Pair { client: &platform.admin, world: prelude(), recent: Vec::new() };
    for (n, step) in (1..).zip(steps) {
        let (seen, expected) = pair.step(step).await;
        if seen != expected {
            return Err((n, format!("answered {seen:#?}\nexpected {expected:#?}")));
        }
        let row = platform.admin.query_one(&picture, &[]).await.expect("the picture is taken");
        let (seen, findings): (Vec<String>, Vec<String>) = (row.get(0), row.get(1));
        let expected = pair.world.picture();
        if seen != expected || !findings.is_empty() {
            let only = |a: &[String], b: &[String]| -> Vec<String> {
                a.iter().filter(|line| !b.contains(line)).cloned().collect()
            };
            let (there, missing) = (only(&seen, &expected), only(&expected, &seen));
            return Err((n, format!("there is {there:#?}\nexpected {missing:#?}\n{findings:?}")));
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_tick_does_and_answers_what_the_model_says() {
    let platform = Platform::new(CLOCK).await;
    let mut runner = TestRunner::default();
    for _ in 0..lists() {
        let steps = script().new_tree(&mut runner).expect("a list of calls").current();
        if let Err(failure) = play(&platform, &steps).await {
            let steps = shorten(steps, failure, async |steps| play(&platform, steps).await).await;
            panic!("the last of these calls fails:\n{steps}");
        }
    }
}
