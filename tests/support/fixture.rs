//! A small platform to place sessions on, and its functions called as psql calls them.

use std::future::Future;

use serde_json::{Map, Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use super::TestDb;

/// Parameters of a statement.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A database with a few keys and agents, and a superuser's connection to it.
///
/// Policy `open` limits nothing. Keys `AK` and `AK2` belong to user `u1`, `BK` to `u2`, all in
/// domain `d1`. Agents `i-01`, `i-02`, `i-03` are of resource group `g1`, `j-01` is of `g2`; each
/// has 8 `cpu` and 64 GiB `mem`.
pub(crate) struct Fixture {
    pub(crate) db: TestDb,
    pub(crate) client: Client,
}

/// The `n`th id of a test.
pub(crate) fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// Kernels without ids.
pub(crate) fn kernels(on: &[(&str, Value)]) -> Value {
    on.iter().map(|(agent, slots)| json!({"agent": agent, "slots": slots})).collect()
}

/// A request in the form of a batch's element: one interactive session of `key`.
pub(crate) fn request(session: u128, key: &str, on: &[(&str, Value)]) -> Value {
    json!({"session_id": id(session), "access_key": key, "kernels": kernels(on)})
}

/// The request with some of its fields replaced.
pub(crate) fn with(mut request: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object: {fields}") };
    request.as_object_mut().expect("a request is an object").extend(fields);
    request
}

/// One field of each answer.
pub(crate) fn each<'a>(rows: &'a [Value], field: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[field].as_str().unwrap_or("null")).collect()
}

/// How the functions that take one reservation read a request.
const ARGUMENTS: &str = "session_id => ($1::jsonb ->> 'session_id')::uuid,
    access_key => $1::jsonb ->> 'access_key',
    kernels => $1::jsonb -> 'kernels',
    session_type => coalesce($1::jsonb ->> 'session_type', 'interactive'),
    project => $1::jsonb ->> 'project'";

impl Fixture {
    /// The platform described above, on which nothing runs.
    pub(crate) async fn new() -> Self {
        let db = TestDb::new().await;
        let client = db.connect().await;
        let fixture = Self { db, client };
        fixture
            .run(
                "select from occupancy.put_resource_policy('open');
                 select from unnest(array['AK', 'AK2', 'BK'], array['u1', 'u1', 'u2']) as k (key, owner),
                   occupancy.put_keypair(k.key, k.owner, 'open', domain => 'd1');
                 select from unnest(array['i-01', 'i-02', 'i-03', 'j-01'], array['g1', 'g1', 'g1', 'g2'])
                     as a (agent, resource_group),
                   occupancy.put_agent(a.agent, '{\"cpu\": 8, \"mem\": \"64g\"}', a.resource_group);",
            )
            .await;
        fixture
    }

    /// Runs statements whose answers do not matter.
    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}\n{error:?}");
        }
    }

    /// The rows of a query as objects.
    pub(crate) async fn rows(&self, sql: &str, params: Params<'_>) -> Vec<Value> {
        rows(&self.client, sql, params).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"))
    }

    /// The only row of a query as an object.
    pub(crate) async fn row(&self, sql: &str, params: Params<'_>) -> Value {
        let mut rows = self.rows(sql, params).await;
        assert_eq!(rows.len(), 1, "{sql}");
        rows.remove(0)
    }

    /// The `outcome` of a function that answers with one row.
    pub(crate) async fn outcome(&self, call: &str) -> String {
        let row = self.row(&format!("select outcome from occupancy.{call}"), &[]).await;
        row["outcome"].as_str().expect("an outcome").to_owned()
    }

    /// The SQLSTATE of a call that must fail; one of ours must come with lower case and a hint.
    pub(crate) async fn refused(&self, sql: &str, params: Params<'_>) -> String {
        refused(&self.client, sql, params).await
    }

    /// `reserve_session` with the fields of a request.
    pub(crate) async fn reserve(&self, request: &Value) -> Value {
        self.try_reserve(request).await.unwrap_or_else(|error| panic!("{request}\n{error:?}"))
    }

    /// `reserve_session` that may fail.
    pub(crate) async fn try_reserve(&self, request: &Value) -> Result<Value, Error> {
        let sql = format!("select * from occupancy.reserve_session({ARGUMENTS})");
        Ok(rows(&self.client, &sql, &[request]).await?.remove(0))
    }

    /// `check_session` that may fail.
    pub(crate) async fn try_check(&self, request: &Value) -> Result<Vec<Value>, Error> {
        let sql = format!("select * from occupancy.check_session({ARGUMENTS})");
        rows(&self.client, &sql, &[request]).await
    }

    /// The SQLSTATE of a `reserve_session` that must fail, and of its `check_session`.
    pub(crate) async fn reserve_refused(&self, request: &Value) -> String {
        let checked = format!("select * from occupancy.check_session({ARGUMENTS})");
        let checked = self.refused(&checked, &[request]).await;
        let reserved = format!("select * from occupancy.reserve_session({ARGUMENTS})");
        let reserved = self.refused(&reserved, &[request]).await;
        assert_eq!(reserved, checked, "check_session and reserve_session differ on {request}");
        reserved
    }

    /// `check_session` with the fields of a request.
    pub(crate) async fn check(&self, request: &Value) -> Vec<Value> {
        self.try_check(request).await.unwrap_or_else(|error| panic!("{request}\n{error:?}"))
    }

    /// `reserve_sessions`.
    pub(crate) async fn reserve_all(&self, requests: &[Value]) -> Vec<Value> {
        let batch = Value::from(requests.to_vec());
        self.rows("select * from occupancy.reserve_sessions($1)", &[&batch]).await
    }

    /// Every row of every table, but for the schema runner's own.
    pub(crate) async fn snapshot(&self) -> Map<String, Value> {
        let tables = self
            .rows(
                "select relname as name from pg_class
                  where relnamespace = 'occupancy'::regnamespace and relkind = 'r'
                    and not starts_with(relname, 'schema_') order by relname",
                &[],
            )
            .await;
        let columns = tables.iter().map(|table| {
            let table = table["name"].as_str().expect("a name");
            format!("(select jsonb_agg(to_jsonb(t) order by to_jsonb(t)) from occupancy.{table} t) as {table}")
        });
        let sql = format!("select {}", columns.collect::<Vec<_>>().join(", "));
        let Value::Object(tables) = self.row(&sql, &[]).await else { unreachable!("a row") };
        tables
    }

    /// What an attempt answers, having changed nothing in any table.
    pub(crate) async fn unchanged<T>(&self, attempt: impl Future<Output = T>) -> T {
        let before = self.snapshot().await;
        let answer = attempt.await;
        assert_eq!(before, self.snapshot().await);
        answer
    }

    /// What the audit finds.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        self.rows("select * from occupancy.audit()", &[]).await
    }

    /// Fails unless the audit finds nothing.
    pub(crate) async fn assert_sound(&self) {
        assert_eq!(self.audit().await, Vec::<Value>::new());
    }

    /// What an agent has occupied.
    pub(crate) async fn occupied(&self, agent: &str) -> Value {
        let sql = "select occupied_slots from occupancy.agent_occupancy where agent_id = $1";
        self.row(sql, &[&agent]).await["occupied_slots"].take()
    }

    /// What a quota is charged with: the number of sessions and the slots.
    pub(crate) async fn quota(&self, scope: &str, scope_id: &str) -> (i64, Value) {
        let sql =
            "select used, occupied_slots from occupancy.quotas where scope = $1 and scope_id = $2";
        let mut row = self.row(sql, &[&scope, &scope_id]).await;
        (row["used"].as_i64().expect("a count"), row["occupied_slots"].take())
    }

    /// What a key is charged with: compute sessions, system sessions and slots.
    pub(crate) async fn key(&self, key: &str) -> (i64, i64, Value) {
        let sql = "select compute_used, system_used, occupied_slots from occupancy.concurrency
                   where access_key = $1";
        let mut row = self.row(sql, &[&key]).await;
        let count = |field: &Value| field.as_i64().expect("a count");
        (count(&row["compute_used"]), count(&row["system_used"]), row["occupied_slots"].take())
    }
}

/// The rows of a query as objects.
pub(crate) async fn rows(
    client: &Client,
    sql: &str,
    params: Params<'_>,
) -> Result<Vec<Value>, Error> {
    let sql = format!("select to_jsonb(answer) from ({sql}) as answer");
    Ok(client.query(&sql, params).await?.iter().map(|row| row.get(0)).collect())
}

/// The SQLSTATE of a query that must fail; one of ours must come with lower case and a hint.
pub(crate) async fn refused(client: &Client, sql: &str, params: Params<'_>) -> String {
    let error = match client.query(sql, params).await {
        Ok(answer) => panic!("not refused: {sql} {params:?}\n{answer:?}"),
        Err(error) => error,
    };
    let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}\n{error:?}"));
    let code = error.code().code().to_owned();
    if code.starts_with("OC") {
        let message = error.message();
        assert!(!message.starts_with(char::is_uppercase), "{sql}: {message}");
        assert!(error.hint().is_some(), "{sql}: {message} has no hint");
    }
    code
}
