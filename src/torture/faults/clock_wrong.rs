//! The managers' clocks are five minutes off, some early and some late.

use std::time::Duration;

use super::{Fault, Ground, Strike};
use crate::error::Result;

pub(super) struct ClockWrong;

const OFF: i64 = 300;
const FOR: Duration = Duration::from_secs(1);

impl Fault for ClockWrong {
    fn name(&self) -> &'static str {
        "clock-wrong"
    }

    fn obstacle(&self, ground: &Ground) -> Option<String> {
        let missing = ground.managers.iter().any(|manager| manager.clock.is_none());
        missing.then(|| "libfaketime is not installed (package faketime)".to_owned())
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            ground.mark(self.name());
            set(ground, OFF)?;
            ground
                .listen_until("every manager's clock is wrong", |ground| {
                    ground.managers.iter().all(|manager| {
                        skew(ground, &manager.name).is_some_and(|skew| skew.abs() > OFF / 2)
                    })
                })
                .await?;
            ground.listen_for(FOR).await;
            set(ground, 0)?;
            Ok(true)
        })
    }
}

fn set(ground: &Ground, seconds: i64) -> Result<()> {
    let signs = [1, -1].into_iter().cycle();
    for (manager, sign) in ground.managers.iter().zip(signs) {
        if let Some(clock) = &manager.clock {
            clock.set(sign * seconds)?;
        }
    }
    Ok(())
}

/// How far a manager's clock was ahead of ours in its latest answer.
fn skew(ground: &Ground, name: &str) -> Option<i64> {
    let (_, clock) = ground.history.latest(name)?;
    Some(clock - jiff::Timestamp::now().as_second())
}
