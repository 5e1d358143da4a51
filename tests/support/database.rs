//! A database for each test.

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use occupancy::schema::Runner;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

use super::{Server, connect, wait_for};

/// Names the settings of a pooler in front of the server, as keywords and values.
pub(crate) const POOLER: &str = "OCCUPANCY_TEST_POOLER";

/// Names a file of SQL that changes the functions before any test runs, to see which one finds out.
const MUTATION: &str = "OCCUPANCY_TEST_MUTATION";

/// A database of a test's own, with the schema installed. Dropped with this value.
pub(crate) struct TestDb {
    name: String,
    url: String,
    server: &'static Server,
}

/// A database of a test's own, with nothing in it.
pub(crate) async fn empty_database() -> TestDb {
    TestDb::create("template1").await
}

/// Makes an empty database what every test starts from.
async fn install(url: &str) {
    let mut client = connect(url).await;
    let runner = Runner::embedded().expect("the embedded sources are sound");
    runner.migrate(&mut client).await.expect("the schema installs");
    if let Ok(mutation) = env::var(MUTATION) {
        let mutation = std::fs::read_to_string(mutation).expect("the mutation can be read");
        let as_owner = format!("set role occupancy_owner; {mutation}");
        client.batch_execute(&as_owner).await.expect("the mutation is SQL");
    }
}

impl TestDb {
    /// Copies the template, which has the schema and is made once for the process.
    pub(crate) async fn new() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let template = TEMPLATE.get_or_init(|| async {
            let server = Server::shared().await;
            let name = format!("{}_template", server.prefix);
            create(server, &name, "template1").await;
            install(&with_database(&server.url, &name)).await;
            name
        });
        Self::create(template.await).await
    }

    async fn create(template: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = Server::shared().await;
        let name = format!("{}_{}", server.prefix, NUMBER.fetch_add(1, Ordering::Relaxed));
        create(server, &name, template).await;
        Self { url: with_database(&server.url, &name), name, server }
    }

    /// The database's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A superuser's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where a client of the library connects: through the pooler of [`POOLER`] if there is one.
    pub(crate) fn client_url(&self) -> String {
        match env::var(POOLER) {
            Ok(pooler) => format!("{pooler} dbname={}", self.name),
            Err(_) => self.url.clone(),
        }
    }

    /// A superuser's URL of the server that holds it.
    pub(crate) fn server_url(&self) -> &str {
        &self.server.url
    }

    /// Connects as a superuser.
    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    /// Connects with the rights of a role, which need not be allowed to log in.
    pub(crate) async fn connect_as(&self, role: &str) -> Client {
        let client = self.connect().await;
        client
            .batch_execute(&format!("set session authorization {role}"))
            .await
            .expect("the role exists");
        client
    }

    /// What the server has logged about this database.
    ///
    /// Each entry begins with time, process, `user@database` and SQLSTATE.
    pub(crate) async fn server_log(&self) -> String {
        // On its way through a collector or a container the log may lag behind: read up to a mark.
        let mark = format!("mark {:016x}", rand::random::<u64>());
        let raise = format!("do $$ begin raise log '{mark}'; end $$");
        self.connect().await.batch_execute(&raise).await.expect("a superuser may log");
        let mut log = String::new();
        wait_for("the log", async || {
            log = self.server.log().await;
            log.contains(&mark)
        })
        .await;
        let before_mark = log.find(&mark).and_then(|mark| log[..mark].rfind('\n'));
        log.truncate(before_mark.unwrap_or_default());
        let here = format!("@{} ", self.name);
        let mut ours = false;
        let mut entries = String::new();
        for line in log.lines() {
            // The further lines of an entry are indented.
            if !line.starts_with('\t') {
                ours = line.contains(&here);
            }
            if ours {
                entries.push_str(line);
                entries.push('\n');
            }
        }
        entries
    }
}

impl Drop for TestDb {
    /// The test's runtime cannot wait here, so that another one does.
    fn drop(&mut self) {
        let drop = format!("drop database {} with (force)", self.name);
        let url = self.server.url.clone();
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { connect(&url).await.batch_execute(&drop).await })?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })
        .join();
        if !thread::panicking() {
            dropped.expect("the server answers").expect("the test's database can be dropped");
        }
    }
}

/// Copying files is somewhat faster than logging every page, on a server that does not sync.
async fn create(server: &Server, name: &str, template: &str) {
    connect(&server.url)
        .await
        .batch_execute(&format!("create database {name} template {template} strategy file_copy"))
        .await
        .expect("a database can be created");
}

/// The same URL for another database.
pub(crate) fn with_database(url: &str, database: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("OCCUPANCY_TEST_URL is a URL");
    let (place, parameters) = match rest.split_once('?') {
        Some((place, parameters)) => (place, format!("?{parameters}")),
        None => (rest, String::new()),
    };
    let authority = place.split_once('/').map_or(place, |(authority, _)| authority);
    format!("{scheme}://{authority}/{database}{parameters}")
}
