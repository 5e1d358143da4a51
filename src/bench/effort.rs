//! How long this program and the server's backends have kept processors busy. Unlike a clock on the
//! wall, that does not tell of whatever else goes on on the machine.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use tokio_postgres::Client;

use crate::bench::databases::Databases;
use crate::error::Result;

/// Reads the processor time of both sides of the connections of a run.
pub(super) struct Meter {
    client: Client,
    /// The beginning of the names of its databases.
    databases: String,
}

/// Processor time by process.
pub(super) struct Reading(HashMap<String, Duration>);

impl Meter {
    pub(super) async fn of(databases: &Databases) -> Result<Self> {
        let client = databases.server().connect().await?;
        Ok(Self { client, databases: databases.name().to_owned() })
    }

    /// Reads it; `None` unless the server runs on this machine, and that is Linux.
    pub(super) async fn read(&self) -> Result<Option<Reading>> {
        let backends = self
            .client
            .query(
                "select pid::text from pg_stat_activity
                  where starts_with(datname, $1) and backend_type = 'client backend'",
                &[&self.databases],
            )
            .await?;
        let mut reading = HashMap::new();
        for backend in backends {
            let process: String = backend.try_get(0)?;
            // Of a server elsewhere the number means nothing, or somebody else.
            if fs::read_to_string(format!("/proc/{process}/comm")).ok().as_deref()
                == Some("postgres\n")
                && let Some(busy) = busy(&process)
            {
                reading.insert(process, busy);
            }
        }
        if reading.is_empty() {
            return Ok(None);
        }
        let own = busy("self");
        Ok(own.map(|busy| {
            reading.insert("self".to_owned(), busy);
            Reading(reading)
        }))
    }
}

impl Reading {
    /// What was added since then, by whoever is still there.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let added = |(process, busy): (&String, &Duration)| {
            busy.saturating_sub(before.0.get(process).copied().unwrap_or_default())
        };
        self.0.iter().map(added).sum()
    }
}

/// How long the threads of a process have run.
fn busy(process: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten() {
        let schedule = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        total += Duration::from_nanos(schedule.split_whitespace().next()?.parse().ok()?);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_counts() {
        let reading = |of: &[(&str, u64)]| {
            Reading(
                of.iter().map(|(name, s)| ((*name).to_owned(), Duration::from_secs(*s))).collect(),
            )
        };
        let before = reading(&[("1", 5), ("2", 7)]);
        assert_eq!(reading(&[("1", 6), ("3", 2)]).since(&before), Duration::from_secs(3));
    }
}
