//! Several managers at work on one database, watched while they work.
//!
//! The demo and the replay differ in the sessions that they ask for. What they share is here: a
//! *manager* with connections of its own, its *view* of the agents from which it chooses where a
//! kernel should go, the *tally* of what the database answered, and the *watch* that reads the
//! database from aside and holds every number against its limit.

pub(crate) mod amount;
pub(crate) mod demo;
mod end;
mod manager;
pub(crate) mod progress;
pub(crate) mod queue;
pub(crate) mod replay;
pub(crate) mod summary;
mod tally;
pub(crate) mod trace;
pub(crate) mod view;
pub(crate) mod watch;

use std::sync::Arc;

use tokio::task::JoinSet;

use self::manager::Manager;
use self::progress::Progress;
use self::tally::Tally;
use self::watch::Watch;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::handles::Handles;

/// Managers that share nothing but the database, and what is recorded of them.
struct Crew {
    managers: Vec<Manager>,
    tally: Arc<Tally>,
    watch: Watch,
}

impl Crew {
    /// Connects each manager, and the watch, with a pool of its own. Without a lease: their sessions
    /// end by a plan that knows no confirmation.
    async fn connect(config: &Config, managers: usize) -> Result<Self> {
        Self::connect_with(config, managers, 2).await
    }

    /// The same, with so many connections for each manager.
    async fn connect_with(config: &Config, managers: usize, connections: usize) -> Result<Self> {
        let tally = Arc::new(Tally::default());
        let mut crew = Vec::with_capacity(managers);
        for number in 1..=managers {
            let config = config.clone().with_application_name(format!("manager-{number}"));
            let handles =
                Handles::connect(&config.with_pool_size(connections).without_lease()).await?;
            crew.push(Manager::new(handles, Arc::clone(&tally)));
        }
        let config =
            config.clone().with_application_name("watch").with_pool_size(1).without_lease();
        let watch = Watch::new(Handles::connect(&config).await?);
        Ok(Self { managers: crew, tally, watch })
    }

    /// Runs the managers' tasks, with the watch beside them, until all are done.
    async fn work<T: Send + 'static>(
        &mut self,
        tasks: impl IntoIterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
        progress: &Progress,
    ) -> Result<Vec<T>> {
        // Dropping the set ends the tasks: none outlives a work that failed or was interrupted.
        let mut running: JoinSet<Result<T>> = tasks.into_iter().collect();
        let finished = async {
            let mut results = Vec::with_capacity(running.len());
            while let Some(task) = running.join_next().await {
                results.push(task.map_err(|error| {
                    Error::new(ErrorKind::Io, "a manager ended before its time").caused_by(error)
                })??);
            }
            Ok::<_, Error>(results)
        };
        let results = tokio::select! {
            results = finished => results?,
            error = self.watch.run(&self.tally, progress) => return Err(error),
        };
        self.watch.look().await?;
        Ok(results)
    }
}
