//! Others take every connection that there is, and managers have to connect anew.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Fault, Ground, Strike};
use crate::config::Config;
use crate::error::Result;
use crate::torture::cluster::MAX_CONNECTIONS;
use crate::torture::silence::Whose;

pub(super) struct ConnectionsExhausted;

const FOR: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;

const SEND_AWAY: &str = "
    select pg_terminate_backend(pid) from pg_stat_activity
    where application_name like 'torture-_.%'";

impl Fault for ConnectionsExhausted {
    fn name(&self) -> &'static str {
        "connections-exhausted"
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            let client = ground.connect().await?;
            let config = ground.cluster.primary_for_managers()?.with_application_name("greedy");
            let mut taken = Vec::new();
            let mut full = take_all(&config, &mut taken).await;
            ground.mark(self.name());
            ground.silence.begin(Whose::Everybodys);
            // Whoever has a connection loses it, and finds none.
            for _ in 0..ROUNDS {
                client.batch_execute(SEND_AWAY).await?;
                full = take_all(&config, &mut taken).await;
            }
            ground.listen_for(FOR).await;
            drop(taken);
            Ok(full)
        })
    }
}

/// Connects until the server has no more to give; whether it said so.
async fn take_all(config: &Config, taken: &mut Vec<Client>) -> bool {
    while taken.len() < MAX_CONNECTIONS {
        let connected: Result<Client> = config.connect().await;
        match connected {
            Ok(client) => taken.push(client),
            Err(error) => {
                return error.sqlstate() == Some(SqlState::TOO_MANY_CONNECTIONS.code());
            }
        }
    }
    false
}
