//! Where the database is and how to reach it, in the manner of libpq.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, NoTls};
use tracing::warn;

use crate::error::{Error, ErrorKind, Result};
use crate::passfile::{self, Wanted};
use crate::retry::RetryPolicy;

/// Settings of the database connection, the pool and its retries.
///
/// Read from a URL (`postgresql://user:password@host:port/database?option=value`) or from
/// libpq's keyword/value form (`host=… dbname=…`). Both take several hosts and
/// `target_session_attrs=read-write`, with which a pool follows a failover:
///
/// ```
/// use occupancy::Config;
///
/// let config: Config =
///     "postgresql://manager:secret@db1:5432,db2:5432/platform?target_session_attrs=read-write"
///         .parse()?;
/// let config = config.with_pool_size(16);
/// assert_eq!(config.to_string(), "postgresql://manager@db1:5432,db2:5432/platform");
/// # Ok::<(), occupancy::Error>(())
/// ```
///
/// The password is printed neither by `Display` nor by `Debug`, nor does an error quote a string
/// that could not be read. TLS is not built in: `sslmode` may be `disable` or `prefer`, and
/// anything that demands encryption is refused instead of ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    postgres: tokio_postgres::Config,
    pub(crate) pool_size: usize,
    pub(crate) wait_timeout: Duration,
    statement_timeout: Option<Duration>,
    pub(crate) retry: RetryPolicy,
    pub(crate) prepared_statements: bool,
}

/// libpq's variables and the connection options that they give a default for.
const VARIABLES: [(&str, &str); 11] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGAPPNAME", "application_name"),
    ("PGOPTIONS", "options"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGSSLMODE", "sslmode"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
];

/// The variables of which one is enough to say that a server is meant.
const NAMING_A_SERVER: [&str; 5] = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER"];

impl Config {
    /// The settings of the environment: `DATABASE_URL`, and for what it leaves open, or instead
    /// of it, libpq's variables `PGHOST`, `PGHOSTADDR`, `PGPORT`, `PGDATABASE`, `PGUSER`,
    /// `PGPASSWORD`, `PGAPPNAME`, `PGOPTIONS`, `PGCONNECT_TIMEOUT`, `PGSSLMODE` and
    /// `PGTARGETSESSIONATTRS`. A password that is still missing is looked up for the first host
    /// in the password file (`PGPASSFILE` or `~/.pgpass`). `None` if no variable names a server.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a variable that cannot be read.
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_variables(variable)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        if let Some(url) = variable("DATABASE_URL") {
            return url.parse::<Self>()?.fill_gaps(variable).map(Some);
        }
        if NAMING_A_SERVER.iter().all(|name| variable(name).is_none()) {
            return Ok(None);
        }
        Self::default().fill_gaps(variable).map(Some)
    }

    /// These settings, and where they are silent those of libpq's variables and of its password
    /// file, as `psql` treats the string that it is given.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a variable that cannot be read.
    pub fn with_env_defaults(self) -> Result<Self> {
        self.fill_gaps(variable)
    }

    fn fill_gaps(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let options: String = VARIABLES
            .iter()
            .filter_map(|(name, option)| Some(format!("{option}={} ", quoted(&variable(name)?))))
            .collect();
        let defaults = read(&options, "the PG* variables of the environment")?;
        merge(&mut self.postgres, &defaults);
        if self.postgres.get_password().is_none()
            && let Some(file) = passfile::location(variable)
            && let Some(password) = self.password_in(&file)
        {
            self.postgres.password(password);
        }
        Ok(self)
    }

    fn password_in(&self, file: &Path) -> Option<String> {
        let postgres = self.resolved();
        let host = match (postgres.get_hosts().first(), postgres.get_hostaddrs().first()) {
            (Some(Host::Tcp(name)), _) => name.clone(),
            (Some(Host::Unix(directory)), _) if directory == Path::new(SOCKET_DIRECTORY) => {
                "localhost".to_owned()
            }
            (Some(Host::Unix(directory)), _) => directory.display().to_string(),
            (None, address) => address?.to_string(),
        };
        let user = match postgres.get_user() {
            Some(user) => user.to_owned(),
            None => User::from_uid(Uid::effective()).ok()??.name,
        };
        let port = postgres.get_ports().first().copied().unwrap_or(5432);
        let database = postgres.get_dbname().unwrap_or(&user);
        passfile::look_up(file, &Wanted { host: &host, port, database, user: &user })
    }

    /// The most connections that the pool holds. Default: 8.
    #[must_use]
    pub fn with_pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections.max(1);
        self
    }

    /// How long a call waits for a free connection of the pool. Default: 10 s.
    #[must_use]
    pub fn with_wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = timeout;
        self
    }

    /// How long establishing a connection to one host may take. Default: `connect_timeout` of
    /// the string or `PGCONNECT_TIMEOUT`, else 10 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.postgres.connect_timeout(timeout);
        self
    }

    /// How long the server may work on one call before it cancels it. Default: as the server is
    /// set. It is sent as a start-up option, which some poolers in between must be told to pass.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = Some(timeout);
        self
    }

    /// How calls are repeated after a passing failure.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Whether each connection of the pool prepares a statement when it first needs it, instead of
    /// sending its text with every call. The server then parses and plans it once, which saves it
    /// about a tenth of a reservation's work. Default: no, since a pooler in transaction mode gives
    /// the next call another connection: PgBouncer knows about prepared statements from 1.21 on, and
    /// Debian 12 has 1.18.
    #[must_use]
    pub fn with_prepared_statements(mut self, prepare: bool) -> Self {
        self.prepared_statements = prepare;
        self
    }

    /// What the server shows as `application_name`. Default: `occupancy`.
    #[must_use]
    pub fn with_application_name(mut self, name: impl Into<String>) -> Self {
        self.postgres.application_name(name);
        self
    }

    /// The same server, but this database on it.
    #[must_use]
    pub fn with_database(mut self, name: impl Into<String>) -> Self {
        self.postgres.dbname(name);
        self
    }

    /// Opens one connection outside any pool, for instance to reserve and to write a row of
    /// one's own in the same transaction. It is closed when the client is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] if no host can be reached, and what the server answers.
    pub async fn connect(&self) -> Result<Client> {
        let (client, connection) = self.resolved().connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                warn!("connection lost: {error}");
            }
        });
        Ok(client)
    }

    /// The driver's settings with every default in place.
    pub(crate) fn resolved(&self) -> tokio_postgres::Config {
        let mut postgres = self.postgres.clone();
        if postgres.get_hosts().is_empty() && postgres.get_hostaddrs().is_empty() {
            match Path::new(SOCKET_DIRECTORY) {
                directory if directory.is_dir() => postgres.host_path(directory),
                _ => postgres.host("localhost"),
            };
        }
        if postgres.get_application_name().is_none() {
            postgres.application_name("occupancy");
        }
        postgres.connect_timeout(self.connect_timeout());
        if let Some(timeout) = self.statement_timeout {
            let given = postgres.get_options().unwrap_or_default();
            let options = format!("{given} -c statement_timeout={}", timeout.as_millis());
            postgres.options(options.trim_start());
        }
        notice_a_dead_peer(&mut postgres);
        postgres
    }

    /// The time for trying every host once.
    pub(crate) fn create_timeout(&self) -> Duration {
        let hosts = self.postgres.get_hosts().len().max(self.postgres.get_hostaddrs().len());
        self.connect_timeout().saturating_mul(u32::try_from(hosts.max(1)).unwrap_or(u32::MAX))
    }

    fn connect_timeout(&self) -> Duration {
        self.postgres.get_connect_timeout().copied().unwrap_or(Duration::from_secs(10))
    }
}

/// Where Debian's packages put the server's socket.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";

/// A host that vanished without a word (a failover, a lost network) is noticed within a minute;
/// the operating system's defaults take hours. Explicit settings stand.
fn notice_a_dead_peer(postgres: &mut tokio_postgres::Config) {
    if postgres.get_keepalives_interval().is_none() && postgres.get_keepalives_retries().is_none() {
        postgres
            .keepalives_idle(Duration::from_secs(20))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3);
    }
    if postgres.get_tcp_user_timeout().is_none() {
        postgres.tcp_user_timeout(Duration::from_secs(30));
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            postgres: tokio_postgres::Config::new(),
            pool_size: 8,
            wait_timeout: Duration::from_secs(10),
            statement_timeout: None,
            retry: RetryPolicy::default(),
            prepared_statements: false,
        }
    }
}

impl FromStr for Config {
    type Err = Error;

    /// Reads a URL or a keyword/value string; the environment is not looked at.
    fn from_str(text: &str) -> Result<Self> {
        let postgres = read(text, "the connection string").map_err(|error| {
            error.hint("write postgresql://user:password@host:port/database?option=value")
        })?;
        Ok(Self { postgres, ..Self::default() })
    }
}

/// Reads either form; `origin` says in an error where the text came from.
fn read(text: &str, origin: &str) -> Result<tokio_postgres::Config> {
    let unreadable = |detail: &str| {
        Error::new(ErrorKind::Config, format!("cannot read {origin}")).detail(detail)
    };
    let postgres =
        text.parse::<tokio_postgres::Config>().map_err(|error| unreadable(&complaint(&error)))?;
    match postgres.get_ssl_mode() {
        SslMode::Disable | SslMode::Prefer => Ok(postgres),
        _ => Err(unreadable(TLS_MISSING)),
    }
}

const TLS_MISSING: &str = "TLS is not built in: sslmode may only be disable or prefer";

/// The driver's complaint without any piece of the text: a stray quote can make a part of the
/// password look like the name of an option.
fn complaint(error: &tokio_postgres::Error) -> String {
    let complaint = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if complaint == "invalid value for option `sslmode`" {
        return TLS_MISSING.to_owned();
    }
    match complaint.strip_prefix("unknown option `").and_then(|rest| rest.strip_suffix('`')) {
        Some(option) if UNSUPPORTED.contains(&option) => {
            format!("the option {option} is not supported")
        }
        Some(_) => "it has an unknown option".to_owned(),
        None if complaint.starts_with("invalid value for option `") => complaint,
        None => "it is malformed".to_owned(),
    }
}

/// Options of libpq that the driver does not know, and that an error may therefore name.
const UNSUPPORTED: [&str; 14] = [
    "passfile",
    "service",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslcrl",
    "sslpassword",
    "gssencmode",
    "krbsrvname",
    "require_auth",
    "requirepeer",
    "client_encoding",
    "fallback_application_name",
    "keepalives_count",
];

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A value of the keyword/value form.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

/// Copies what `given` leaves open.
fn merge(given: &mut tokio_postgres::Config, defaults: &tokio_postgres::Config) {
    macro_rules! fill {
        ($($get:ident => $set:ident),+) => {$(
            if let (None, Some(value)) = (given.$get(), defaults.$get()) {
                given.$set(value.to_owned());
            }
        )+};
    }
    fill!(
        get_user => user,
        get_password => password,
        get_dbname => dbname,
        get_options => options,
        get_application_name => application_name,
        get_connect_timeout => connect_timeout
    );
    if given.get_hosts().is_empty() && given.get_hostaddrs().is_empty() {
        for host in defaults.get_hosts() {
            match host {
                Host::Tcp(name) => given.host(name),
                Host::Unix(directory) => given.host_path(directory),
            };
        }
        for address in defaults.get_hostaddrs() {
            given.hostaddr(*address);
        }
    }
    if given.get_ports().is_empty() {
        for port in defaults.get_ports() {
            given.port(*port);
        }
    }
    if given.get_ssl_mode() == SslMode::Prefer {
        given.ssl_mode(defaults.get_ssl_mode());
    }
    if given.get_target_session_attrs() == TargetSessionAttrs::Any {
        given.target_session_attrs(defaults.get_target_session_attrs());
    }
}

/// The URL without password and options.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let postgres = self.resolved();
        f.write_str("postgresql://")?;
        if let Some(user) = postgres.get_user() {
            write!(f, "{user}@")?;
        }
        let hosts = postgres.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(directory) => directory.display().to_string().replace('/', "%2F"),
        });
        let addresses = postgres.get_hostaddrs().iter().map(ToString::to_string);
        let hosts = if postgres.get_hosts().is_empty() {
            addresses.collect::<Vec<_>>()
        } else {
            hosts.collect()
        };
        let ports = postgres.get_ports();
        for (i, host) in hosts.iter().enumerate() {
            let port = ports.get(i).or(ports.first()).copied().unwrap_or(5432);
            write!(f, "{}{host}:{port}", if i == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", postgres.get_dbname().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Option<Config>> {
        Config::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn both_forms_are_read() {
        let url: Config = "postgres://me:pw@db:5433/platform".parse().expect("a URL");
        let words: Config =
            "host=db port=5433 user=me password=pw dbname=platform".parse().expect("keywords");
        assert_eq!(url, words);
        assert_eq!(url.to_string(), "postgresql://me@db:5433/platform");
    }

    #[test]
    fn several_hosts_and_the_wanted_role_are_kept() {
        let config: Config = "postgresql://db1:5432,db2:5433/p?target_session_attrs=read-write"
            .parse()
            .expect("valid");
        let postgres = config.resolved();
        assert_eq!(postgres.get_hosts().len(), 2);
        assert_eq!(postgres.get_ports(), [5432, 5433]);
        assert_eq!(postgres.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(config.create_timeout(), Duration::from_secs(20));
    }

    #[test]
    fn the_environment_fills_only_what_the_url_leaves_open() {
        let config = from(&[
            ("DATABASE_URL", "postgresql://me@db:5433/platform"),
            ("PGHOST", "elsewhere"),
            ("PGUSER", "somebody"),
            ("PGPASSWORD", r"it's a \secret"),
            ("PGAPPNAME", "manager-1"),
            ("PGCONNECT_TIMEOUT", "3"),
            ("PGTARGETSESSIONATTRS", "read-write"),
        ]);
        let config = config.expect("readable").expect("a server");
        assert_eq!(config.to_string(), "postgresql://me@db:5433/platform");
        let postgres = config.resolved();
        assert_eq!(postgres.get_password(), Some(r"it's a \secret".as_bytes()));
        assert_eq!(postgres.get_application_name(), Some("manager-1"));
        assert_eq!(postgres.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(postgres.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn a_missing_password_is_looked_up_in_the_password_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"db1:5432:platform:me:hunter2").expect("written");
        let path = file.path().to_str().expect("UTF-8");
        let password = |variables: &[(&str, &str)]| {
            let config = from(variables).expect("readable").expect("a server");
            let password = config.resolved().get_password().map(<[u8]>::to_vec);
            password.map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
        };
        let url = ("DATABASE_URL", "postgresql://me@db1,db2/platform");
        let file = ("PGPASSFILE", path);
        assert_eq!(password(&[url, file]).as_deref(), Some("hunter2"));
        assert_eq!(password(&[url, file, ("PGPASSWORD", "given")]).as_deref(), Some("given"));
        assert_eq!(password(&[("PGHOST", "db1"), ("PGUSER", "me"), file]), None);
    }

    #[test]
    fn variables_alone_name_a_server() {
        let config = from(&[("PGHOST", "/sockets,db2"), ("PGPORT", "6432,5432")]);
        let config = config.expect("readable").expect("a server");
        assert_eq!(config.to_string(), "postgresql://%2Fsockets:6432,db2:5432/");
        assert_eq!(from(&[("PGPASSWORD", "secret")]).expect("readable"), None);
    }

    #[test]
    fn an_unreadable_variable_is_said() {
        let error = from(&[("PGHOST", "db"), ("PGPORT", "many")]).expect_err("no port");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.detail_text(), Some("invalid value for option `port`"));
    }

    #[test]
    fn encryption_is_refused_and_not_ignored() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let text = format!("host=db sslmode={mode}");
            let error = text.parse::<Config>().expect_err(mode);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert_eq!(error.detail_text(), Some(TLS_MISSING));
        }
        "host=db sslmode=prefer".parse::<Config>().expect("prefer may go without");
    }

    #[test]
    fn a_password_is_never_printed() {
        let config: Config = "postgresql://me:hunter2@db/platform".parse().expect("valid");
        for text in [config.to_string(), format!("{config:?}"), format!("{config:#?}")] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        let malformed = [
            "postgresql://me:hunter2@db:port/platform",
            "postgresql://me:@hunter2@db:hunter2/platform?sslmode=hunter2",
            "host=db password=my hunter2=1",
            "host=db password='hunter2",
            "hunter2",
        ];
        for text in malformed {
            let error = text.parse::<Config>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error}{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn an_option_of_libpq_that_is_missing_here_is_named() {
        let error = "host=db sslcert=c".parse::<Config>().expect_err("unsupported");
        assert_eq!(error.detail_text(), Some("the option sslcert is not supported"));
    }

    #[test]
    fn the_statement_timeout_joins_other_options() {
        let config: Config = "host=db options='-c lock_timeout=5s'".parse().expect("valid");
        let config = config.with_statement_timeout(Duration::from_millis(1500));
        let expected = "-c lock_timeout=5s -c statement_timeout=1500";
        assert_eq!(config.resolved().get_options(), Some(expected));
    }
}
