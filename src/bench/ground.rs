//! What a team finds: who is registered, and what has happened before.

use tokio_postgres::types::{Json, Type};

use crate::bench::databases::Databases;
use crate::bench::order;
use crate::config::Config;
use crate::error::Result;

/// The content of a database before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    pub(super) keys: u32,
    pub(super) agents: u32,
    /// Whether users, projects and the domain are limited, too.
    pub(super) quotas: bool,
    pub(super) past: Vec<Past>,
}

/// Sessions of some keys that were there before, spread over all agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) ended: u32,
    pub(super) live: u32,
    pub(super) first_key: u32,
    pub(super) keys: u32,
    /// Whether they came through the queue.
    pub(super) queued: bool,
}

impl Ground {
    /// A database with this content, vacuumed and analysed as one that has been in use for a while.
    pub(super) async fn lay(&self, databases: &Databases) -> Result<Config> {
        let config = databases.create().await?;
        let client = config.connect().await?;
        let (keys, agents) = (self.keys.cast_signed(), self.agents.cast_signed());
        client.execute("select fill.registry($1, $2, $3)", &[&keys, &agents, &self.quotas]).await?;
        for past in &self.past {
            let (first_key, keys) = (past.first_key.cast_signed(), past.keys.cast_signed());
            client
                .query_typed(
                    "select fill.sessions($1, $2, $3, $4, $5, $6)",
                    &[
                        (&i64::from(past.ended), Type::INT8),
                        (&i64::from(past.live), Type::INT8),
                        (&first_key, Type::INT4),
                        (&keys, Type::INT4),
                        (&agents, Type::INT4),
                        (&Json(order::slots()), Type::JSONB),
                    ],
                )
                .await?;
            if past.queued {
                client.batch_execute("select fill.history()").await?;
            }
        }
        client.batch_execute("vacuum (analyze)").await?;
        Ok(config)
    }
}
