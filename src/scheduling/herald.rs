//! Telling other processes that there may be room by now.
//!
//! Nothing of it is part of a call: the pool rings once a call is answered, which costs an atomic
//! or two, and a task of its own passes that on. So a transaction that admits or frees never takes
//! the lock that NOTIFY needs, and a wake-up that fails delays and fails nobody.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tracing::{debug, warn};

use super::statements as sql;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// Between two wake-ups of a process: however much it frees, it says so at most 20 times a second.
/// Half of the 100 ms in which a scheduler is to know.
const SPACING: Duration = Duration::from_millis(50);
/// After one that failed.
const REST: Duration = Duration::from_secs(1);
/// Nobody waits for it, but the connection may be dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// Wakes schedulers, at once and then after each pause in which the pool rang, until the pool is
/// gone.
pub(crate) async fn herald(config: Config, mut rung: watch::Receiver<()>) {
    let mut line = Line { config, client: None };
    let mut failing = false;
    while rung.changed().await.is_ok() {
        let result = match timeout(PATIENCE, line.wake()).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::Connection, "it was not answered in time")),
        };
        match result {
            Ok(()) => {
                failing = false;
                sleep(SPACING).await;
            }
            Err(error) => {
                // What is left of the connection may be a call without an answer.
                line.client = None;
                if failing {
                    debug!(sqlstate = error.sqlstate(), "no wake-up either: {error}");
                } else {
                    warn!(
                        sqlstate = error.sqlstate(),
                        "could not wake schedulers, which find out with their next poll: {error}"
                    );
                }
                failing = true;
                sleep(REST).await;
            }
        }
    }
}

/// A connection of its own, opened with the first wake-up: no call of the pool waits for it.
struct Line {
    config: Config,
    client: Option<Client>,
}

impl Line {
    async fn wake(&mut self) -> Result<()> {
        let kept = self.client.take().filter(|client| !client.is_closed());
        let was_kept = kept.is_some();
        let client = match kept {
            Some(client) => client,
            None => self.config.connect().await?,
        };
        let answer = match sql::wake_schedulers.run(&client, &[]).await {
            // The server may have gone, and come back, since the last time.
            Err(error) if was_kept && error.is_transient() => {
                let client = self.config.connect().await?;
                let answer = sql::wake_schedulers.run(&client, &[]).await;
                self.client = Some(client);
                answer
            }
            answer => {
                self.client = Some(client);
                answer
            }
        };
        answer.map(drop)
    }
}
