//! Cleans up on a server that goes on after us.

use std::env;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::connect;

const URL: &str = "OCCUPANCY_TEST_JANITOR_URL";
const PREFIX: &str = "OCCUPANCY_TEST_JANITOR_PREFIX";

/// A process that drops our databases once we are gone, for whatever reason.
pub(crate) struct Janitor(Child);

impl Janitor {
    /// Engages one for all databases whose name begins with `prefix`.
    pub(crate) fn engage(url: &str, prefix: &str) -> Self {
        let this = env::current_exe().expect("the test binary is known");
        let child = Command::new(this)
            .args(["--exact", "support::janitor::janitor", "--ignored"])
            .env(URL, url)
            .env(PREFIX, prefix)
            // Its end is the end of this process.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C is not for it.
            .process_group(0)
            .spawn()
            .expect("the test binary can be started");
        Self(child)
    }
}

#[tokio::test]
#[ignore = "the janitor's process, not a test"]
async fn janitor() {
    let (Ok(url), Ok(prefix)) = (env::var(URL), env::var(PREFIX)) else { return };
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input ends");
    let client = connect(&url).await;
    let databases = client
        .query("select datname::text from pg_database where starts_with(datname, $1)", &[&prefix])
        .await
        .expect("databases can be listed");
    for database in databases {
        let name: &str = database.get(0);
        client
            .batch_execute(&format!("drop database if exists {name} with (force)"))
            .await
            .expect("a database can be dropped");
    }
}
