//! The one place that opens a connection.

use std::future::poll_fn;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Notification};
use tracing::{debug, warn};

use crate::config::{Config, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{self, Mode, Security};

/// A client, and the task that carries its messages and ends when the client is dropped.
pub(crate) type Opened = (Client, JoinHandle<()>);

/// Connects to the first server that takes the connection and is as wanted.
pub(crate) async fn open(config: &Config) -> Result<Opened> {
    // Boxed: it is deep within every call's future.
    Box::pin(open_hearing(config, None)).await
}

/// The same, with what the server notifies the connection of; that ends with the connection.
pub(crate) async fn listen(config: &Config) -> Result<(Client, UnboundedReceiver<Notification>)> {
    let (heard, hearing) = unbounded_channel();
    let (client, _carrier) = Box::pin(open_hearing(config, Some(heard))).await?;
    Ok((client, hearing))
}

/// Who is to hear of notifications, if anybody.
type Heard = Option<UnboundedSender<Notification>>;

async fn open_hearing(config: &Config, heard: Heard) -> Result<Opened> {
    let mut failures = Vec::new();
    for target in config.targets() {
        // Boxed: it is large.
        match Box::pin(open_as_allowed(&target, config.security(), &heard)).await {
            Ok(opened) => return Ok(opened),
            Err(error) => failures.push((target.name, error)),
        }
    }
    Err(most_hopeful(failures))
}

/// Tries what `sslmode` allows, in its order.
async fn open_as_allowed(target: &Target, security: &Security, heard: &Heard) -> Result<Opened> {
    let (first, second) = match security.mode {
        _ if target.is_socket => (SslMode::Disable, None),
        Mode::Disable => (SslMode::Disable, None),
        Mode::Allow => (SslMode::Disable, Some(SslMode::Require)),
        // The driver's `Prefer` gives up where the server offers TLS and fails at it.
        Mode::Prefer => (SslMode::Prefer, Some(SslMode::Disable)),
        Mode::Require | Mode::VerifyCa | Mode::VerifyFull => (SslMode::Require, None),
    };
    let error = match open_in(target, security, first, heard).await {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    // The server may want the other way for this user, host and database.
    match second.filter(|_| error.is_about_login() || error.kind() == ErrorKind::Tls) {
        Some(second) => {
            open_in(target, security, second, heard).await.map_err(|e| either(error, e))
        }
        None => Err(error),
    }
}

async fn open_in(
    target: &Target,
    security: &Security,
    mode: SslMode,
    heard: &Heard,
) -> Result<Opened> {
    let mut driver = target.driver.clone();
    driver.ssl_mode(mode);
    let failed = |error| {
        tls::complaint(security, &target.name, &error).unwrap_or_else(|| Error::from(error))
    };
    if mode == SslMode::Disable {
        let (client, connection) = driver.connect(NoTls).await.map_err(failed)?;
        Ok((client, tokio::spawn(carry(connection, heard.clone()))))
    } else {
        let (client, connection) = driver.connect(security.connector()?).await.map_err(failed)?;
        Ok((client, tokio::spawn(carry(connection, heard.clone()))))
    }
}

/// Carries the messages of a connection until either side closes it.
async fn carry<S, T>(mut connection: Connection<S, T>, heard: Heard)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notification(notification)) => {
                if let Some(heard) = &heard {
                    // Nobody may listen any more.
                    let _ = heard.send(notification);
                }
            }
            Ok(AsyncMessage::Notice(notice)) => debug!("{notice}"),
            Ok(_) => {}
            Err(error) => {
                warn!("connection lost: {error}");
                return;
            }
        }
    }
}

/// What to tell when a server refused both ways: not that it does not take one of them.
fn either(first: Error, second: Error) -> Error {
    if second.is_transient() || first.to_string() == second.to_string() {
        return second;
    }
    let (told, other) = if first.is_no_entry() { (second, first) } else { (first, second) };
    let also = format!("{}; the other way: {other}", told.detail_text().unwrap_or_default());
    told.detail(also.trim_start_matches("; "))
}

/// The last failure, or one after which trying again may help, with the others in its detail.
fn most_hopeful(mut failures: Vec<(String, Error)>) -> Error {
    let of_all = failures.iter().map(|(server, error)| format!("{server}: {}", told(error)));
    let of_all = (failures.len() > 1).then(|| of_all.collect::<Vec<_>>().join("; "));
    let hopeful = failures.iter().rposition(|(_, error)| error.is_transient());
    let chosen = hopeful.map(|at| failures.swap_remove(at)).or_else(|| failures.pop());
    let error = match chosen {
        Some((_, error)) => error,
        None => Error::new(ErrorKind::Config, "no server is named"),
    };
    match of_all {
        Some(of_all) => error.detail(of_all),
        None => error,
    }
}

/// An error on one line, with what its cause knows.
fn told(error: &Error) -> String {
    let detail = error.detail_text().map(ToOwned::to_owned);
    let cause = || std::error::Error::source(std::error::Error::source(error)?);
    match detail.or_else(|| cause().map(ToString::to_string)) {
        Some(more) => format!("{error} ({more})"),
        None => error.to_string(),
    }
}
