//! Signals that end a command.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Verdict;
use crate::error::{Error, ErrorKind, Result};

/// Whatever the terminal, the system or a supervisor sends to end a command.
pub(super) struct Interruption([(SignalKind, Signal); 3]);

impl Interruption {
    pub(super) fn listen() -> Result<Self> {
        let listen = |kind| match signal(kind) {
            Ok(signal) => Ok((kind, signal)),
            Err(error) => Err(Error::new(ErrorKind::Io, "cannot listen to signals")
                .detail(error.to_string())
                .caused_by(error)),
        };
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// Does the work unless a signal comes first. The work is dropped then, and with it the
    /// servers, databases and files that it made.
    pub(super) async fn or(self, work: impl Future<Output = Result<Verdict>>) -> Result<Verdict> {
        self.interrupts(Box::pin(work)).await?.or_else(|signal| Ok(Verdict::Interrupted(signal)))
    }

    /// The same for work that ends in something else than a verdict; or the signal's number.
    pub(super) async fn interrupts<T>(
        mut self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<std::result::Result<T, u8>> {
        tokio::select! {
            outcome = work => outcome.map(Ok),
            signal = self.wait() => {
                Ok(Err(u8::try_from(signal.as_raw_value()).unwrap_or_default()))
            }
        }
    }

    /// Waits for one, and says which.
    pub(super) async fn wait(&mut self) -> SignalKind {
        let [(interrupt, a), (terminate, b), (hangup, c)] = &mut self.0;
        tokio::select! {
            _ = a.recv() => *interrupt,
            _ = b.recv() => *terminate,
            _ = c.recv() => *hangup,
        }
    }
}
