//! Everything that can go wrong, in one opaque type.
//!
//! This module is the only place that looks at an SQLSTATE: the rest of the crate asks
//! [`Error::kind`], [`Error::code`] or [`Error::is_transient`].

use std::fmt;

use tokio_postgres::error::SqlState;

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A caller's mistake, as the database functions report it (SQLSTATE class `OC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// `OC001`: a resource slots value that is malformed.
    InvalidSlots,
    /// `OC002`: no such access key is registered.
    UnknownAccessKey,
    /// `OC003`: no such agent is registered.
    UnknownAgent,
    /// `OC004`: no such session or kernel, where one must exist.
    UnknownSessionOrKernel,
    /// `OC005`: an argument that is missing, too long, or not one of the known words.
    InvalidArgument,
    /// `OC006`: the session id lives with another content, or a kernel id with another session.
    ConflictingReservation,
    /// `OC007`: a queue state change that the state machine does not know.
    IllegalTransition,
    /// `OC008`: the caller's isolation level could make the answer wrong.
    UnsupportedIsolation,
    /// `OC009`: the caller is a stale holder.
    Fenced,
    /// `OC010`: a stored number contradicts the ledger; run `audit()`.
    InvariantBroken,
}

impl Code {
    /// Every code, in order of its number.
    pub const ALL: [Self; 10] = [
        Self::InvalidSlots,
        Self::UnknownAccessKey,
        Self::UnknownAgent,
        Self::UnknownSessionOrKernel,
        Self::InvalidArgument,
        Self::ConflictingReservation,
        Self::IllegalTransition,
        Self::UnsupportedIsolation,
        Self::Fenced,
        Self::InvariantBroken,
    ];

    /// The five characters that PostgreSQL transmits.
    #[must_use]
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::InvalidSlots => "OC001",
            Self::UnknownAccessKey => "OC002",
            Self::UnknownAgent => "OC003",
            Self::UnknownSessionOrKernel => "OC004",
            Self::InvalidArgument => "OC005",
            Self::ConflictingReservation => "OC006",
            Self::IllegalTransition => "OC007",
            Self::UnsupportedIsolation => "OC008",
            Self::Fenced => "OC009",
            Self::InvariantBroken => "OC010",
        }
    }

    /// The name beside the number, as the documentation writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidSlots => "invalid_slots",
            Self::UnknownAccessKey => "unknown_access_key",
            Self::UnknownAgent => "unknown_agent",
            Self::UnknownSessionOrKernel => "unknown_session_or_kernel",
            Self::InvalidArgument => "invalid_argument",
            Self::ConflictingReservation => "conflicting_reservation",
            Self::IllegalTransition => "illegal_transition",
            Self::UnsupportedIsolation => "unsupported_isolation",
            Self::Fenced => "fenced",
            Self::InvariantBroken => "invariant_broken",
        }
    }

    /// The code with this SQLSTATE, if it is one of ours.
    #[must_use]
    pub fn from_sqlstate(sqlstate: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.sqlstate() == sqlstate)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sqlstate(), self.name())
    }
}

/// What an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A caller's mistake that the database functions refused; nothing was changed.
    Refused(Code),
    /// The server answered with an error that is not one of ours.
    Database,
    /// No connection, or a connection that broke.
    Connection,
    /// TLS that was asked for and is not to be had: the server has none, its certificate is not
    /// trusted, or it does not accept the client's.
    Tls,
    /// Every connection of the pool stayed in use for longer than a call may wait for one.
    Exhausted,
    /// Settings that contradict each other or cannot be read.
    Config,
    /// The installed schema and this library do not fit.
    Schema,
    /// An embedded server could not be found, started or stopped.
    Server,
    /// Anything else from the operating system or from an input file.
    Io,
}

/// An error with a message, and where known the detail, the next step and the cause.
///
/// `Display` prints the message alone; the command line prints all parts.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Parts>);

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Parts {
    kind: ErrorKind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    sqlstate: Option<SqlState>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    #[must_use]
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
            sqlstate: None,
            source: None,
        }))
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl Error {
    /// What the error is about.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The caller's mistake, when the database functions refused the call.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self.0.kind {
            ErrorKind::Refused(code) => Some(code),
            _ => None,
        }
    }

    /// The SQLSTATE of the server's answer, when there was one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.0.sqlstate.as_ref().map(SqlState::code)
    }

    /// The offending value or the circumstances, if known.
    #[must_use]
    pub fn detail_text(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// What to do next, if known.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether the same call may be sent again and could then succeed.
    ///
    /// True for lost connections and for what the server answers when it is restarting, failing
    /// over, out of connections, or had to abort one of several transactions. Every function is
    /// idempotent by its ids, so that repeating a call whose answer was lost is safe.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &self.0.sqlstate {
            Some(state) => {
                matches!(
                    state.code(),
                    // serialization_failure, deadlock_detected, lock_not_available,
                    // admin_shutdown, crash_shutdown, cannot_connect_now,
                    // too_many_connections, read_only_sql_transaction (after a failover)
                    "40001" | "40P01" | "55P03" | "57P01" | "57P02" | "57P03" | "53300" | "25006"
                ) || state.code().starts_with("08")
            }
            None => self.0.kind == ErrorKind::Connection,
        }
    }

    /// Whether the server does not have, or already has, the prepared statement that was named: it
    /// is on another connection.
    pub(crate) fn is_about_prepared_statements(&self) -> bool {
        // invalid_sql_statement_name, duplicate_prepared_statement
        matches!(self.sqlstate(), Some("26000" | "42P05"))
    }
}

impl Error {
    /// Whether the server turned down who logs in, or from where, or how.
    pub(crate) fn is_about_login(&self) -> bool {
        self.sqlstate().is_some_and(|state| state.starts_with("28"))
    }

    /// Whether it has no entry in its `pg_hba.conf` for who came this way.
    pub(crate) fn is_no_entry(&self) -> bool {
        self.sqlstate() == Some("28000")
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let kind = if error.is_closed() || is_io(&error) {
                ErrorKind::Connection
            } else {
                ErrorKind::Database
            };
            return Self::new(kind, error.to_string()).caused_by(error);
        };
        let kind =
            Code::from_sqlstate(db.code().code()).map_or(ErrorKind::Database, ErrorKind::Refused);
        let mut mapped = Self::new(kind, db.message());
        mapped.0.detail = db.detail().map(str::to_owned);
        mapped.0.hint = db.hint().map(str::to_owned);
        mapped.0.sqlstate = Some(db.code().clone());
        mapped.caused_by(error)
    }
}

/// A broken socket is not marked as closed by the driver, but is found among the causes.
fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.is::<std::io::Error>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_cause() {
        let error = Error::new(ErrorKind::Io, "cannot read").caused_by(std::io::Error::other("no"));
        assert_eq!(error.to_string(), "cannot read");
        let cause = std::error::Error::source(&error).expect("a cause");
        assert_eq!(cause.to_string(), "no");
    }
}
