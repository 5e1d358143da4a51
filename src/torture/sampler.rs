//! Looks at every number all the time, from aside.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::config::Config;
use crate::handles::Handles;
use crate::retry::RetryPolicy;
use crate::workload::watch::Watch;

const EVERY: Duration = Duration::from_millis(20);

/// Takes samples until it is dropped.
pub(super) struct Sampler {
    seen: Arc<Mutex<Samples>>,
    task: JoinHandle<()>,
}

/// What was seen.
#[derive(Default)]
struct Samples {
    taken: u64,
    broken: Vec<String>,
}

impl Sampler {
    pub(super) fn start(config: &Config) -> Self {
        let config = config.clone().with_pool_size(1).with_retry(RetryPolicy::never());
        let seen = Arc::new(Mutex::new(Samples::default()));
        Self { task: tokio::spawn(sample(config, Arc::clone(&seen))), seen }
    }

    pub(super) fn taken(&self) -> u64 {
        self.seen.lock().map_or(0, |seen| seen.taken)
    }

    /// Every number that was above its limit since this was last asked.
    pub(super) fn broken(&self) -> Vec<String> {
        self.seen.lock().map(|mut seen| std::mem::take(&mut seen.broken)).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// While the server is away there is nothing to be seen.
async fn sample(config: Config, seen: Arc<Mutex<Samples>>) {
    loop {
        if let Ok(handles) = Handles::connect(&config).await {
            let mut watch = Watch::new(handles);
            while watch.look().await.is_ok() {
                if let Ok(mut seen) = seen.lock() {
                    seen.taken += 1;
                    seen.broken.append(&mut watch.broken);
                }
                tokio::time::sleep(EVERY).await;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
