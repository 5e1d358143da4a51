//! Somebody in psql holds rows that everybody needs.

use std::time::Duration;

use super::{Fault, Ground, Strike};

pub(super) struct LockHeld;

const FOR: Duration = Duration::from_secs(2);

impl Fault for LockHeld {
    fn name(&self) -> &'static str {
        "lock-held"
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            let client = ground.connect().await?;
            client
                .batch_execute(
                    "begin; select from occupancy.keypair order by access_key limit 2 for update",
                )
                .await?;
            ground.mark(self.name());
            ground.listen_for(FOR).await;
            let waiting = "
                select count(*) from pg_stat_activity
                where application_name like 'torture-_.%' and wait_event_type = 'Lock'";
            let waiting: i64 = client.query_one(waiting, &[]).await?.try_get(0)?;
            client.batch_execute("rollback").await?;
            Ok(waiting > 0)
        })
    }
}
