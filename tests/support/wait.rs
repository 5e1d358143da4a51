//! Waiting for a state, never for a time.

use std::time::Duration;

use tokio::time::{interval, timeout};
use tokio_postgres::Client;

/// Long enough for the slowest machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, and panics if it does not come to hold.
pub(crate) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut tick = interval(POLL);
    timeout(PATIENCE, async {
        while !condition().await {
            tick.tick().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for: {what}"));
}

/// The process id of a connection's backend.
pub(crate) async fn backend_pid(client: &Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).await.expect("the connection is idle").get(0)
}

/// Waits until the backend `pid` waits for a lock. `client` must be another connection, outside a
/// transaction, in which statistics stand still.
pub(crate) async fn wait_until_blocked(client: &Client, pid: i32) {
    wait_for(&format!("backend {pid} to wait for a lock"), async || {
        client
            .query_one("select cardinality(pg_blocking_pids($1)) > 0", &[&pid])
            .await
            .expect("blockers can be listed")
            .get(0)
    })
    .await;
}
