//! A database with something registered in it, calls of the functions as psql would send them, and
//! connections that race.

use std::future::Future;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use super::{TestDb, backend_pid, wait_for, wait_until_blocked};

/// Connections for crowds, of the 300 that the server has for all tests of this process.
static CROWDS: Semaphore = Semaphore::const_new(160);

/// A reservation as the caller words it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) session_id: Uuid,
    pub(crate) access_key: String,
    pub(crate) kernels: Value,
    pub(crate) session_type: String,
    pub(crate) project: Option<String>,
}

impl Call {
    /// A new interactive session of `access_key`: a kernel with one cpu on each of the agents.
    pub(crate) fn new(access_key: &str, agents: &[&str]) -> Self {
        let kernels = agents.iter().map(|agent| json!({"agent": agent, "slots": {"cpu": 1}}));
        Self {
            session_id: Uuid::new_v4(),
            access_key: access_key.to_owned(),
            kernels: kernels.collect(),
            session_type: "interactive".to_owned(),
            project: None,
        }
    }

    pub(crate) fn with_id(self, session_id: Uuid) -> Self {
        Self { session_id, ..self }
    }

    pub(crate) fn with_kernels(self, kernels: Value) -> Self {
        Self { kernels, ..self }
    }

    pub(crate) fn with_type(self, session_type: &str) -> Self {
        Self { session_type: session_type.to_owned(), ..self }
    }

    pub(crate) fn with_project(self, project: &str) -> Self {
        Self { project: Some(project.to_owned()), ..self }
    }

    /// As an element of a batch.
    pub(crate) fn element(&self) -> Value {
        json!({
            "session_id": self.session_id,
            "access_key": self.access_key,
            "kernels": self.kernels,
            "session_type": self.session_type,
            "project": self.project,
        })
    }
}

/// What a reservation was answered.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) session_id: Option<Uuid>,
    pub(crate) outcome: String,
    pub(crate) code: Option<String>,
    pub(crate) used: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) violations: Value,
    pub(crate) kernels: Value,
}

impl Admission {
    fn from_row(row: &Row) -> Self {
        Self {
            session_id: row.get("session_id"),
            outcome: row.get("outcome"),
            code: row.get("code"),
            used: row.get("used"),
            max: row.get("max"),
            violations: row.get::<_, Option<Value>>("violations").unwrap_or_default(),
            kernels: row.get::<_, Option<Value>>("kernels").unwrap_or_default(),
        }
    }

    /// The outcome, followed by the codes of all violations or else the code.
    pub(crate) fn verdict(&self) -> String {
        let codes: Vec<&str> = match self.violations.as_array() {
            Some(violations) => violations.iter().filter_map(|v| v["code"].as_str()).collect(),
            None => self.code.iter().map(String::as_str).collect(),
        };
        [&[self.outcome.as_str()], codes.as_slice()].concat().join(" ")
    }

    /// The ids of the kernels of an admitted session.
    pub(crate) fn kernel_ids(&self) -> Vec<Uuid> {
        let kernels = self.kernels.as_array().into_iter().flatten();
        kernels
            .map(|kernel| kernel["kernel_id"].as_str().and_then(|id| id.parse().ok()))
            .collect::<Option<_>>()
            .expect("kernel ids are UUIDs")
    }
}

const ADMISSION: &str = "session_id, outcome, code, used, max, violations, kernels";

/// `reserve_session`.
pub(crate) async fn reserve(client: &Client, call: &Call) -> Result<Admission, Error> {
    let sql = format!("select {ADMISSION} from occupancy.reserve_session($1, $2, $3, $4, $5)");
    let row = client
        .query_one(
            &sql,
            &[&call.session_id, &call.access_key, &call.kernels, &call.session_type, &call.project],
        )
        .await?;
    Ok(Admission::from_row(&row))
}

/// `reserve_sessions`.
pub(crate) async fn reserve_batch(
    client: &Client,
    calls: &[Call],
) -> Result<Vec<Admission>, Error> {
    let sessions: Value = calls.iter().map(Call::element).collect();
    let sql = format!("select {ADMISSION} from occupancy.reserve_sessions($1)");
    Ok(client.query(&sql, &[&sessions]).await?.iter().map(Admission::from_row).collect())
}

/// `release_session`: the outcome.
pub(crate) async fn release(client: &Client, session_id: Uuid) -> Result<String, Error> {
    let sql = "select outcome from occupancy.release_session($1)";
    Ok(client.query_one(sql, &[&session_id]).await?.get(0))
}

/// `release_sessions`: the outcomes.
pub(crate) async fn release_batch(client: &Client, ids: &[Uuid]) -> Result<Vec<String>, Error> {
    let sql = "select outcome from occupancy.release_sessions($1)";
    Ok(client.query(sql, &[&ids]).await?.iter().map(|row| row.get(0)).collect())
}

/// `terminate_session`: the outcome.
pub(crate) async fn terminate(client: &Client, session_id: Uuid) -> Result<String, Error> {
    let sql = "select outcome from occupancy.terminate_session($1)";
    Ok(client.query_one(sql, &[&session_id]).await?.get(0))
}

/// `release_kernel`: the outcome, and whether the session has ended.
pub(crate) async fn release_kernel(client: &Client, id: Uuid) -> Result<(String, bool), Error> {
    let sql = "select outcome, session_ended from occupancy.release_kernel($1)";
    let row = client.query_one(sql, &[&id]).await?;
    Ok((row.get(0), row.get(1)))
}

/// `settle_kernel`: the outcome.
pub(crate) async fn settle(client: &Client, id: Uuid, slots: &Value) -> Result<String, Error> {
    let sql = "select outcome from occupancy.settle_kernel($1, $2)";
    Ok(client.query_one(sql, &[&id, slots]).await?.get(0))
}

/// The first column of the first row, as text.
pub(crate) async fn ask(client: &Client, sql: &str) -> Result<Option<String>, Error> {
    let rows = client.query(&format!("select answer::text from ({sql}) as t (answer)"), &[]).await;
    Ok(rows?.first().and_then(|row| row.get(0)))
}

/// The SQLSTATE that a call failed with, `None` if it was answered.
pub(crate) fn sqlstate<T>(result: &Result<T, Error>) -> Option<&str> {
    let error = result.as_ref().err()?;
    Some(error.code().map(SqlState::code).expect("the server answers"))
}

/// A database with the schema and a superuser's connection to look at it from outside.
pub(crate) struct Platform {
    pub(crate) admin: Client,
    pub(crate) db: TestDb,
}

impl Platform {
    /// Registers what `registry` says.
    pub(crate) async fn new(registry: &str) -> Self {
        let db = TestDb::new().await;
        let platform = Self { admin: db.connect().await, db };
        platform.run(registry).await;
        platform
    }

    /// One key, `AK` of user `alice`, with the limit given, and the agents `a1`, `a2`, `a3` with
    /// room for whatever a test does.
    pub(crate) async fn with_limit(limit: u32) -> Self {
        Self::new(&format!(
            "select occupancy.put_resource_policy('student', {limit});
             select occupancy.put_keypair('AK', 'alice', 'student');
             select occupancy.put_agent(id, '{{\"cpu\": 1000}}')
               from unnest(array['a1', 'a2', 'a3']) as id;"
        ))
        .await
    }

    /// Runs statements from outside.
    pub(crate) async fn run(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    }

    /// The answer to a query from outside, as text.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let answer = ask(&self.admin, sql).await;
        answer.unwrap_or_else(|error| panic!("{error:?}\n{sql}")).unwrap_or_default()
    }

    /// How many compute sessions the key runs.
    pub(crate) async fn used(&self, access_key: &str) -> i64 {
        let sql = "select compute_used from occupancy.get_concurrency($1)";
        self.admin.query_one(sql, &[&access_key]).await.expect("the key exists").get(0)
    }

    /// A connection with an open transaction.
    pub(crate) async fn begin(&self) -> Client {
        let client = self.db.connect().await;
        client.batch_execute("begin").await.expect("a transaction can begin");
        client
    }

    /// Starts a call on a connection of its own, and returns once it waits for a lock.
    pub(crate) async fn blocked<F, T>(&self, call: impl FnOnce(Client) -> F) -> JoinHandle<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let client = self.db.connect().await;
        let pid = backend_pid(&client).await;
        let waiting = tokio::spawn(call(client));
        wait_until_blocked(&self.admin, pid).await;
        waiting
    }

    /// [`Self::blocked`] for a reservation.
    pub(crate) async fn blocked_reservation(
        &self,
        call: &Call,
    ) -> JoinHandle<Result<Admission, Error>> {
        let call = call.clone();
        self.blocked(|client| async move { reserve(&client, &call).await }).await
    }

    /// Opens a connection for each of `n` that are going to race.
    pub(crate) async fn crowd(&self, n: u32) -> Crowd {
        let permit = CROWDS.acquire_many(n).await.expect("never closed");
        let clients = join_all((0..n).map(|_| self.db.connect())).await;
        Crowd { clients, _permit: permit }
    }

    /// Lets a crowd make its calls, one each. They start together: all of them wait behind `lock`,
    /// a query that locks a row, before the first is let go.
    pub(crate) async fn stampede<F, T>(
        &self,
        lock: &str,
        crowd: Crowd,
        mut call: impl FnMut(usize, Client) -> F,
    ) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let Crowd { clients, _permit } = crowd;
        let expected = i64::try_from(clients.len()).expect("a crowd is small");
        let holder = self.begin().await;
        holder.batch_execute(lock).await.expect("the row can be locked");
        let calls: Vec<_> =
            clients.into_iter().enumerate().map(|(n, c)| tokio::spawn(call(n, c))).collect();
        self.wait_for_waiters(expected).await;
        holder.batch_execute("commit").await.expect("the lock is given back");
        join_all(calls).await.into_iter().map(|call| call.expect("the call ended")).collect()
    }

    /// Waits until exactly `n` connections wait for a lock.
    pub(crate) async fn wait_for_waiters(&self, n: i64) {
        wait_for(&format!("{n} connections to wait for a lock"), async || {
            let sql = "select count(*) from pg_stat_activity
                        where datname = current_database() and wait_event_type = 'Lock'";
            self.admin.query_one(sql, &[]).await.expect("activity").get::<_, i64>(0) == n
        })
        .await;
    }

    /// Every count equals what the ledger says.
    pub(crate) async fn assert_sound(&self) {
        let findings = self.findings().await;
        assert!(findings.is_empty(), "{findings:#?}");
    }

    /// The rows of `audit()`.
    pub(crate) async fn findings(&self) -> Vec<String> {
        let sql = "select format('%s of %s: expected %s, found %s',
                                 invariant, subject, expected, actual) from occupancy.audit()";
        let rows = self.admin.query(sql, &[]).await.expect("the audit runs");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Nobody holds anything, and every count says so.
    pub(crate) async fn assert_empty(&self) {
        self.assert_sound().await;
        let held = self
            .ask(
                "select string_agg(held, ', ') from (
                   select 'session ' || session_id from occupancy.sessions
                   union all select 'slot of ' || session_id from occupancy.session_concurrency
                   union all select 'kernel ' || kernel_id from occupancy.kernels
                   union all select 'key ' || access_key from occupancy.concurrency
                              where (compute_used, system_used, occupied_slots) <> (0, 0, '{}')
                   union all select 'agent ' || agent_id from occupancy.agent_occupancy
                              where occupied_slots <> '{}'
                   union all select scope || ' quota ' || scope_id from occupancy.quotas
                              where (used, occupied_slots) <> (0, '{}')
                 ) as holders (held)",
            )
            .await;
        assert_eq!(held, "", "something is still held");
    }

    /// The server met no deadlock and no serialization failure, whatever its clients saw.
    pub(crate) async fn assert_no_conflict_logged(&self) {
        let log = self.db.server_log().await;
        let conflict = |line: &&str| line.contains(" 40P01 ") || line.contains(" 40001 ");
        let conflicts: Vec<&str> = log.lines().filter(conflict).take(10).collect();
        assert!(conflicts.is_empty(), "{conflicts:#?}");
    }
}

/// Connections that are going to race, counted against what the server has.
pub(crate) struct Crowd {
    pub(crate) clients: Vec<Client>,
    _permit: SemaphorePermit<'static>,
}
