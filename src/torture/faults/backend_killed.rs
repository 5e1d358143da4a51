//! The server ends connections while they work on a call.

use std::time::Duration;

use super::{Fault, Ground, Strike};
use crate::torture::faults::backend_frozen::busy_backends;
use crate::torture::wait::until;

pub(super) struct BackendKilled;

/// Those that are in the middle of a call.
const KILL: &str = "
    select count(pg_terminate_backend(pid)) from pg_stat_activity
    where application_name like 'torture-_.%' and state = 'active'";

impl Fault for BackendKilled {
    fn name(&self) -> &'static str {
        "backend-killed"
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            let client = ground.connect().await?;
            until("a backend is busy", Duration::from_secs(30), async || {
                Ok(!busy_backends(&client).await?.is_empty())
            })
            .await?;
            ground.mark(self.name());
            let killed: i64 = client.query_one(KILL, &[]).await?.try_get(0)?;
            Ok(killed > 0)
        })
    }
}
