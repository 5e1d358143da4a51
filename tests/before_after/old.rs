//! The two older designs: a manager that counts in one store and records in another.

use tokio_postgres::Client;

use super::{Count, Scenario};
use crate::support::{TestDb, empty_database};

/// How the first store counts the sessions of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Design {
    /// An integer: compared with the limit, then incremented.
    Counter,
    /// A set of session ids: its size is compared with the limit, then the id is added. As it was
    /// proposed, with its two slips: the comparison is off by one, and a rejected id stays.
    Set,
}

/// A manager process, with a connection to each store.
struct Manager {
    design: Design,
    store: Client,
    platform: Client,
}

/// What a recalculation has read, and is going to write.
struct Recount(Vec<String>);

impl Manager {
    async fn start(db: &TestDb, design: Design) -> Self {
        Self { design, store: db.connect().await, platform: db.connect().await }
    }

    /// The predicate's first half: how many sessions the key runs.
    async fn look(&self) -> i64 {
        let sql = match self.design {
            Design::Counter => "select store.get('AK')",
            Design::Set => "select store.scard('AK')",
        };
        self.store.query_one(sql, &[]).await.expect("a command").get(0)
    }

    fn passes(&self, seen: i64, limit: i64) -> bool {
        match self.design {
            Design::Counter => seen < limit,
            Design::Set => seen + 1 < limit,
        }
    }

    /// The predicate's second half: counts the session, if it passed. The set takes it in any case.
    async fn count(&self, session: &str, passed: bool) {
        let sql = match self.design {
            Design::Counter if !passed => return,
            Design::Counter => "select store.incr('AK')".to_owned(),
            Design::Set => format!("select store.sadd('AK', '{session}')"),
        };
        self.store.batch_execute(&sql).await.expect("a command");
    }

    /// The whole predicate.
    async fn check(&self, session: &str, limit: i64) -> bool {
        let passed = self.passes(self.look().await, limit);
        self.count(session, passed).await;
        passed
    }

    async fn platform(&self, sql: &str) {
        self.platform.batch_execute(sql).await.expect("a statement");
    }

    /// Records in the platform's tables that a session runs.
    async fn record(&self, session: &str, kernels: u32) {
        self.platform(&format!(
            "insert into platform.session values ('{session}', 'AK', 'RUNNING');
             insert into platform.kernel
               select '{session}-' || n, '{session}', 'RUNNING' from generate_series(1, {kernels}) n"
        ))
        .await;
    }

    async fn run(&self, session: &str, limit: i64) {
        if self.check(session, limit).await {
            self.record(session, 1).await;
        }
    }

    /// A recalculation's first half. The counter's version asks for what occupies agents, and so
    /// gets a row for every kernel.
    async fn recount(&self) -> Recount {
        let sql =
            "select k.session_id from platform.kernel k join platform.session s using (session_id)
                   where s.access_key = 'AK' and k.status = 'RUNNING'";
        let rows = self.platform.query(sql, &[]).await.expect("a query");
        Recount(rows.iter().map(|row| row.get(0)).collect())
    }

    /// A recalculation's second half.
    async fn write(&self, Recount(found): Recount) {
        let sql = match self.design {
            Design::Counter => format!("select store.set('AK', {})", found.len()),
            Design::Set => {
                let add = found.iter().map(|id| format!("select store.sadd('AK', '{id}');"));
                format!("select store.del('AK'); {}", add.collect::<String>())
            }
        };
        self.store.batch_execute(&sql).await.expect("a command");
    }
}

/// A database with both stores.
pub(super) async fn stores() -> TestDb {
    let db = empty_database().await;
    db.connect().await.batch_execute(include_str!("old.sql")).await.expect("both stores");
    db
}

/// Plays a scenario from the beginning, and tells what runs and what is counted at its end.
pub(super) async fn play(db: &TestDb, design: Design, scenario: Scenario) -> Count {
    let manager = Manager::start(db, design).await;
    manager
        .platform("truncate store.counter, store.member, platform.session, platform.kernel")
        .await;
    match scenario {
        Scenario::Retry => retry(&manager).await,
        Scenario::Loop => together(&[&manager, &manager]).await,
        Scenario::TwoManagers => together(&[&manager, &Manager::start(db, design).await]).await,
        Scenario::Crash => {
            let doomed = Manager::start(db, design).await;
            assert!(doomed.check("s1", 2).await);
            // It has counted, and will never record.
            drop(doomed);
        }
        Scenario::Kernels => {
            assert!(manager.check("s1", 9).await);
            manager.record("s1", 3).await;
            manager.write(manager.recount().await).await;
        }
        Scenario::Recalculation => {
            let operator = Manager::start(db, design).await;
            let recount = operator.recount().await;
            manager.run("s1", 2).await;
            operator.write(recount).await;
        }
        Scenario::LimitOne => {
            manager.run("s1", 1).await;
            manager.run("s2", 1).await;
        }
        Scenario::EndsByItself => ends_by_itself(&manager).await,
    }
    let runs = "select count(*) from platform.session where status = 'RUNNING'";
    let runs = manager.platform.query_one(runs, &[]).await.expect("a count").get(0);
    Count { runs, counted: manager.look().await }
}

/// The transaction in the platform's tables fails twice, and the whole predicate is run again.
async fn retry(manager: &Manager) {
    for last in [false, false, true] {
        manager.platform("begin isolation level serializable").await;
        if manager.check("s1", 2).await {
            manager.record("s1", 1).await;
        }
        // The first two find out that somebody else changed what they read.
        manager.platform(if last { "commit" } else { "rollback" }).await;
    }
}

/// One session runs of three allowed; each of the managers in turn has two more. All are checked
/// before the first of them starts.
async fn together(managers: &[&Manager]) {
    managers[0].run("s0", 3).await;
    let mut checked = Vec::new();
    for (n, manager) in managers.iter().enumerate() {
        for session in [format!("s{n}-1"), format!("s{n}-2")] {
            checked.push((manager, session, manager.passes(manager.look().await, 3)));
        }
    }
    for (manager, session, passed) in checked {
        manager.count(&session, passed).await;
        if passed {
            manager.record(&session, 1).await;
        }
    }
}

/// The user's program ends, and the agent reports that. The manager that would have ended the
/// session, and would have uncounted it, is not asked. The counter is set anew after every end.
async fn ends_by_itself(manager: &Manager) {
    manager.run("s1", 2).await;
    manager
        .platform(
            "update platform.kernel set status = 'TERMINATED';
             update platform.session set status = 'TERMINATED'",
        )
        .await;
    if manager.design == Design::Counter {
        manager.write(manager.recount().await).await;
    }
}
