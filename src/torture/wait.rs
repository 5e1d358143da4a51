//! Waiting for a state.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// Asks until the answer is yes.
pub(super) async fn until(
    what: &str,
    patience: Duration,
    mut question: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !question().await? {
        if Instant::now() > deadline {
            let message = format!("{patience:?} passed, and still not: {what}");
            return Err(Error::new(ErrorKind::Server, message));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
