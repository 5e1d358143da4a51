//! The queue and its ticks: what they answer and change, and what happens when several of them, or
//! others, are at work at once.

mod agents;
mod client;
mod explain;
mod limits;
mod model;
mod order;
mod queue;
mod races;
mod reasons;
mod restart;
mod scheduler;
mod states;
mod storm;
mod turns;

use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::support::fixture::id;
use crate::support::platform::{Platform, sqlstate};

/// How `enqueue_session` reads a request.
const ENQUEUE: &str = "
    select concat_ws(' ', a.outcome, (
      select string_agg(v.violation ->> 'code', ' ' order by v.position)
      from jsonb_array_elements(a.violations) with ordinality as v (violation, position)))
    from occupancy.enqueue_session(
      session_id => ($1::jsonb ->> 'session_id')::uuid,
      access_key => $1 ->> 'access_key',
      kernels => $1 -> 'kernels',
      session_type => coalesce($1 ->> 'session_type', 'interactive'),
      project => $1 ->> 'project',
      resource_group => coalesce($1 ->> 'resource_group', 'default'),
      priority => coalesce(($1 ->> 'priority')::integer, 10),
      starts_at => ($1 ->> 'starts_at')::timestamptz,
      dependencies => coalesce(
        array(select jsonb_array_elements_text($1 -> 'dependencies')::uuid), '{}'),
      cluster_mode => coalesce($1 ->> 'cluster_mode', 'single-node')) as a";

/// A tick as lines: the number of the session, then its agents or the codes of what is in the way.
const TICK: &str = "
    select concat_ws(' ',
      ('x' || right(a.session_id::text, 8))::bit(32)::integer,
      case a.outcome when 'placed' then '->' else a.outcome end,
      (select string_agg(k.kernel ->> 'agent', ' ' order by k.position)
       from jsonb_array_elements(a.kernels) with ordinality as k (kernel, position)),
      (select string_agg(v.violation ->> 'code', ' ' order by v.position)
       from jsonb_array_elements(a.violations) with ordinality as v (violation, position)))
    from occupancy.schedule_sessions";

/// Takes the lock by which ticks of the group `default` take turns.
const TURN: &str = "select pg_advisory_xact_lock(1868788291, hashtext('default'))";

/// A request to wait: session `n` of `key`, one kernel.
#[expect(clippy::needless_pass_by_value, reason = "callers write the slots in place")]
fn wanting(n: u128, key: &str, slots: Value) -> Value {
    json!({"session_id": id(n), "access_key": key, "kernels": [{"slots": slots}]})
}

/// The request with some of its fields replaced.
fn but(mut request: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object: {fields}") };
    request.as_object_mut().expect("a request is an object").extend(fields);
    request
}

/// `enqueue_session`: the outcome and the codes.
async fn enqueue(client: &Client, request: &Value) -> Result<String, Error> {
    Ok(client.query_one(ENQUEUE, &[request]).await?.get(0))
}

/// `schedule_sessions` with the arguments given.
async fn tick(client: &Client, arguments: &str) -> Result<Vec<String>, Error> {
    let rows = client.query(&format!("{TICK}({arguments}) as a"), &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A platform with a queue.
///
/// Policy `open` limits nothing. Keys `AK` and `AK2` belong to `alice`, `BK` to `bob`, all in
/// domain `d`.
struct Queue {
    platform: Platform,
}

impl Queue {
    /// With these agents of the group `default`.
    async fn on(agents: &[(&str, Value)]) -> Self {
        let platform = Platform::new(
            "select occupancy.put_resource_policy('open');
             select occupancy.put_keypair(k.key, k.owner, 'open', domain => 'd')
               from (values ('AK', 'alice'), ('AK2', 'alice'), ('BK', 'bob')) as k (key, owner);",
        )
        .await;
        let queue = Self { platform };
        for (agent, slots) in agents {
            queue.run(&format!("select occupancy.put_agent('{agent}', '{slots}')")).await;
        }
        queue
    }

    /// With as many agents `a1`, `a2` … of 4 cpu each.
    async fn with(agents: usize) -> Self {
        let names: Vec<String> = (1..=agents).map(|n| format!("a{n}")).collect();
        let agents: Vec<_> = names.iter().map(|name| (name.as_str(), json!({"cpu": 4}))).collect();
        Self::on(&agents).await
    }

    async fn run(&self, sql: &str) {
        self.platform.run(sql).await;
    }

    async fn ask(&self, sql: &str) -> String {
        self.platform.ask(sql).await
    }

    /// What `enqueue_session` answers, or the SQLSTATE it fails with.
    async fn enqueue(&self, request: Value) -> String {
        let answer = enqueue(&self.platform.admin, &request).await;
        match sqlstate(&answer) {
            Some(code) => code.to_owned(),
            None => answer.expect("answered"),
        }
    }

    /// Sessions 1, 2 … of `AK` with the slots given, in this order.
    async fn wait_for_slots(&self, slots: &[Value]) {
        for (n, slots) in (1..).zip(slots) {
            assert_eq!(self.enqueue(wanting(n, "AK", slots.clone())).await, "enqueued");
        }
    }

    /// A session that need not be looked at twice.
    async fn enqueued(&self, request: Value) {
        assert_eq!(self.enqueue(request).await, "enqueued");
    }

    /// A tick, after which every number is right.
    async fn tick(&self, arguments: &str) -> Vec<String> {
        let answer = tick(&self.platform.admin, arguments).await;
        let answer = answer.unwrap_or_else(|error| panic!("{arguments}\n{error:?}"));
        self.platform.assert_sound().await;
        answer
    }

    /// The SQLSTATE of a statement that must fail.
    async fn refused(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> String {
        crate::support::fixture::refused(&self.platform.admin, sql, params).await
    }

    async fn release(&self, n: u128) -> String {
        let sql = "select outcome from occupancy.release_session($1)";
        self.platform.admin.query_one(sql, &[&id(n)]).await.expect("answered").get(0)
    }

    async fn set_status(&self, n: u128, status: &str) -> String {
        let sql = "select outcome from occupancy.set_session_status($1, $2, 'a test')";
        let answer = self.platform.admin.query_one(sql, &[&id(n), &status]).await;
        match sqlstate(&answer) {
            Some(code) => code.to_owned(),
            None => answer.expect("answered").get(0),
        }
    }

    async fn status(&self, n: u128) -> String {
        self.ask(&format!("select status from occupancy.get_session('{}')", id(n))).await
    }

    /// Makes it that time for the functions.
    async fn at(&self, time: &str) {
        self.run(&format!(
            "create or replace function occupancy.clock() returns timestamptz
             language sql volatile parallel safe return timestamptz '{time}'"
        ))
        .await;
    }
}

/// The `n`th ids of a test.
fn ids(numbers: impl IntoIterator<Item = u128>) -> Vec<Uuid> {
    numbers.into_iter().map(id).collect()
}
