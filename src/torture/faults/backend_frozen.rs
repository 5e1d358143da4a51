//! A backend stops in the middle of a call, with whatever it has locked.

use std::process::Stdio;
use std::time::Duration;

use rand::RngExt;
use tokio::process::Command;
use tokio_postgres::Client;

use super::{Fault, Ground, Strike};
use crate::error::{Error, ErrorKind, Result};
use crate::torture::FREEZE;
use crate::torture::silence::Whose;
use crate::torture::wait::until;

pub(super) struct BackendFrozen;

/// Backends of managers that are in the middle of a call.
pub(super) async fn busy_backends(client: &Client) -> Result<Vec<i32>> {
    const BUSY: &str = "
        select pid from pg_stat_activity
        where application_name like 'torture-_.%' and state = 'active'";
    let rows = client.query(BUSY, &[]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

impl Fault for BackendFrozen {
    fn name(&self) -> &'static str {
        "backend-frozen"
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            let client = ground.connect().await?;
            let mut busy = Vec::new();
            until("a backend is busy", Duration::from_secs(30), async || {
                busy = busy_backends(&client).await?;
                Ok(!busy.is_empty())
            })
            .await?;
            let victim = busy[ground.rng.random_range(0..busy.len())];
            ground.mark(self.name());
            ground.silence.begin(Whose::Everybodys);
            // Another process, so that it goes on even if we are killed meanwhile: a server cannot
            // stop as long as one of its processes is frozen.
            let script = format!(
                "kill -STOP {victim} && sleep {}; kill -CONT {victim}",
                FREEZE.as_secs_f64()
            );
            let mut thaw = Command::new("sh")
                .args(["-c", &script])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .map_err(|e| Error::new(ErrorKind::Io, "cannot run sh").caused_by(e))?;
            ground.listen_for(FREEZE).await;
            let status = thaw.wait().await;
            Ok(status.is_ok_and(|status| status.success()))
        })
    }
}
