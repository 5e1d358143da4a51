//! Stands between the managers and a server, and loses what it is told to lose.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};

/// What becomes of the connections that are there when the order is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Line {
    /// Everything is passed on.
    #[default]
    Whole,
    /// The next request is lost, and the connection with it.
    LosesRequest,
    /// The next answer is lost, and the connection with it.
    LosesAnswer,
    /// Nothing arrives from the server any more, and nobody is told.
    Silent,
}

/// A socket that leads to a server's.
pub(super) struct Proxy {
    directory: PathBuf,
    line: watch::Sender<Line>,
    lost: Arc<AtomicU64>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// Listens in `directory` for a server that listens in `server`, if it does.
    pub(super) fn open(directory: PathBuf, server: &Path) -> Result<Self> {
        // What is left of a predecessor.
        let _ = std::fs::remove_file(socket(&directory));
        let listener = UnixListener::bind(socket(&directory)).map_err(|e| {
            Error::new(ErrorKind::Io, format!("cannot listen in {}", directory.display()))
                .caused_by(e)
        })?;
        open_to_everybody(&socket(&directory))?;
        let (line, orders) = watch::channel(Line::Whole);
        let lost = Arc::new(AtomicU64::new(0));
        let listening = tokio::spawn(listen(listener, socket(server), orders, Arc::clone(&lost)));
        Ok(Self { directory, line, lost, listening })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives the order; it replaces the one before.
    pub(super) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// How many requests and answers were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join(".s.PGSQL.5432")
}

/// The directory is private; but the server's user, who replicates through it, need not be us.
fn open_to_everybody(socket: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o777))
        .map_err(|e| Error::new(ErrorKind::Io, "cannot open the proxy's socket").caused_by(e))
}

async fn listen(
    listener: UnixListener,
    server: PathBuf,
    orders: watch::Receiver<Line>,
    lost: Arc<AtomicU64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, orders, lost) = (server.clone(), orders.clone(), Arc::clone(&lost));
        tokio::spawn(async move {
            // Who is not let in learns it from the end of the connection.
            if let Ok(server) = UnixStream::connect(&server).await {
                carry(client, server, orders, &lost).await;
            }
        });
    }
}

/// Passes on what both sides say, until one of them or an order ends it.
async fn carry(
    mut client: UnixStream,
    mut server: UnixStream,
    mut orders: watch::Receiver<Line>,
    lost: &AtomicU64,
) {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    // An order is for those who were there when it was given.
    orders.mark_unchanged();
    let mut line = Line::Whole;
    loop {
        tokio::select! {
            biased;
            changed = orders.changed() => match changed {
                Ok(()) => line = *orders.borrow_and_update(),
                Err(_) => return,
            },
            read = client.read(&mut up) => match read {
                Ok(length @ 1..) => {
                    if line == Line::LosesRequest {
                        lost.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    if server.write_all(&up[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(_) if line == Line::LosesAnswer => {
                    lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(length @ 1..) => {
                    if line != Line::Silent && client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
