//! Hearing that there may be room by now.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Notification};
use tracing::{debug, info, warn};

use super::statements as sql;
use crate::call::sealed::Executor;
use crate::config::Config;
use crate::connect;
use crate::error::{Error, ErrorKind, Result};
use crate::pool::Pooled;

/// The channel on which `wake_schedulers` tells resource groups that have sessions waiting.
const CHANNEL: &str = "occupancy_queue";
/// How long a notification may take before the way is taken for deaf.
const PROBE: Duration = Duration::from_secs(5);
/// The first and the longest pause before it listens anew.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// How a scheduler hears that something was freed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WakeUp {
    /// By LISTEN, over a connection of its own like those of the pool. Behind a pooler in
    /// transaction mode that hears nothing, which is found out and told.
    #[default]
    Listen,
    /// By LISTEN, over a connection that leads past the pooler. It may belong to any role that may
    /// log in to the same database: to listen needs no right.
    ListenOn(Box<Config>),
    /// Not at all: it looks at its polls only.
    Poll,
}

/// Whether a scheduler hears wake-ups at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Hearing {
    /// It does.
    Listening,
    /// It is about to find out.
    Connecting,
    /// It does not, for the reason given, and looks at its polls only.
    Polling(String),
}

/// Listens for the wake-ups of one resource group.
pub(super) struct Listener {
    pub(super) config: Config,
    pub(super) resource_group: String,
    /// Another way to the same database, to try it out.
    pub(super) pooled: Pooled,
}

impl Listener {
    /// Rings once for each wake-up, and once whenever one may have been missed; never ends.
    pub(super) async fn run(&self, bell: &Notify, hearing: &watch::Sender<Hearing>) {
        let (first, longest) = PAUSES;
        let mut pause = first;
        let mut told = String::new();
        loop {
            hearing.send_replace(Hearing::Connecting);
            let Err(error) = self.listen(bell, hearing).await;
            if *hearing.borrow() == Hearing::Listening {
                pause = first;
                told.clear();
            }
            let why = error.to_string();
            if told == why {
                debug!(sqlstate = error.sqlstate(), "still no wake-ups: {why}");
            } else {
                warn!(sqlstate = error.sqlstate(), "no wake-ups, only polls: {why}");
                told.clone_from(&why);
            }
            hearing.send_replace(Hearing::Polling(why));
            sleep(rand::random_range(pause / 2..=pause)).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn listen(
        &self,
        bell: &Notify,
        hearing: &watch::Sender<Hearing>,
    ) -> Result<std::convert::Infallible> {
        let (client, mut heard) = connect::listen(&self.config).await?;
        self.probe(&client, &mut heard).await?;
        client.batch_execute(&format!("listen {CHANNEL}")).await?;
        hearing.send_replace(Hearing::Listening);
        info!("listening for wake-ups");
        // Whatever was freed before is not heard of.
        bell.notify_one();
        while let Some(notification) = heard.recv().await {
            if notification.channel() == CHANNEL && notification.payload() == self.resource_group {
                bell.notify_one();
            }
        }
        Err(Error::new(ErrorKind::Connection, "the connection that listened was lost"))
    }

    /// Makes sure that what is sent elsewhere is heard here. A pooler in transaction mode takes
    /// LISTEN without complaint, for a server connection that serves somebody else a moment later.
    async fn probe(
        &self,
        client: &Client,
        heard: &mut UnboundedReceiver<Notification>,
    ) -> Result<()> {
        let channel = format!("occupancy_probe_{:016x}", rand::random::<u64>());
        client.batch_execute(&format!("listen {channel}")).await?;
        self.pooled.rows(&sql::pg_notify, &[&channel]).await?;
        let arrives = async {
            while let Some(notification) = heard.recv().await {
                if notification.channel() == channel {
                    return true;
                }
            }
            false
        };
        match timeout(PROBE, arrives).await {
            Ok(true) => Ok(client.batch_execute(&format!("unlisten {channel}")).await?),
            Ok(false) => {
                Err(Error::new(ErrorKind::Connection, "the connection that listened was lost"))
            }
            Err(_) => Err(Error::new(
                ErrorKind::Config,
                "LISTEN hears nothing here, as behind a pooler in transaction mode",
            )
            .hint("give the scheduler a direct connection: WakeUp::ListenOn")),
        }
    }
}
