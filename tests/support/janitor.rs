//! Cleans up after a test process that ends, however it ends: no destructor runs on Ctrl-C.

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{connect, place, wait_for};

const DIRECTORY: &str = "OCCUPANCY_TEST_JANITOR_DIRECTORY";
const URL: &str = "OCCUPANCY_TEST_JANITOR_URL";
const PREFIX: &str = "OCCUPANCY_TEST_JANITOR_PREFIX";

/// A process that starts its work when we are gone.
pub(crate) struct Janitor(#[expect(dead_code, reason = "held for its standard input")] Child);

impl Janitor {
    /// Clears the places in a directory, and removes it.
    pub(crate) fn for_directory(directory: &Path) -> Self {
        Self::engage(|command| command.env(DIRECTORY, directory))
    }

    /// Drops the databases whose names begin with `prefix`.
    pub(crate) fn for_databases(url: &str, prefix: &str) -> Self {
        Self::engage(|command| command.env(URL, url).env(PREFIX, prefix))
    }

    fn engage(duty: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = Command::new(env::current_exe().expect("the test binary is known"));
        command
            .args(["--exact", "support::janitor::janitor", "--ignored"])
            // Its end is the end of this process.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C is not for it.
            .process_group(0);
        Self(duty(&mut command).spawn().expect("the test binary can be started"))
    }
}

#[tokio::test]
#[ignore = "the janitor's process, not a test"]
async fn janitor() {
    let duty = |name| env::var_os(name).map(|value| value.into_string().expect("UTF-8"));
    let (directory, databases) = (duty(DIRECTORY), duty(URL).zip(duty(PREFIX)));
    if directory.is_none() && databases.is_none() {
        return;
    }
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input ends");
    if let Some(directory) = directory {
        // Servers whose owners went with us are still removing their own files.
        wait_for("everything to be removed", async || {
            for place in fs::read_dir(&directory).expect("it is there") {
                place::clear(&place.expect("it can be read").path());
            }
            fs::remove_dir(&directory).is_ok()
        })
        .await;
    }
    if let Some((url, prefix)) = databases {
        drop_databases(&url, &prefix).await;
    }
}

async fn drop_databases(url: &str, prefix: &str) {
    let client = connect(url).await;
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
