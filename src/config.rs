//! Where the database is and how to reach it, in the manner of libpq.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio_postgres::Client;
use tokio_postgres::config::{Host, LoadBalanceHosts};

use crate::connect;
use crate::conninfo::{self, Options, Variables};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::LeaseOptions;
use crate::passfile::{self, Wanted};
use crate::retry::RetryPolicy;
use crate::tls::Security;

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
/// A password may come from the string, from `PGPASSWORD`, from a service or from the password
/// file; there it is looked up for each host and each connection. It is printed neither by
/// `Display` nor by `Debug`, nor does an error quote a string that could not be read.
///
/// # Encryption
/// `sslmode` is libpq's: `disable`, `allow`, `prefer` (the default: with TLS where the server has
/// it, else without), `require` (with TLS, whoever the server is), `verify-ca` (an authority in
/// `sslrootcert` has signed its certificate) and `verify-full` (and the certificate names the host
/// that was asked for). With `sslrootcert`, `require` means `verify-ca`. `sslcert` and `sslkey`
/// name a certificate of the client's own. Sockets are never encrypted. Stricter than libpq: a file
/// that is named must be there, and a name must be in the certificate's `subjectAltName`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    options: Options,
    /// What the driver makes of the options, but for the places.
    driver: tokio_postgres::Config,
    places: Vec<Place>,
    security: Security,
    pub(crate) pool_size: usize,
    pub(crate) wait_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) prepared_statements: bool,
    application_name: Option<String>,
    database: Option<String>,
    connect_timeout: Option<Duration>,
    statement_timeout: Option<Duration>,
    pub(crate) lease: Option<LeaseOptions>,
    pub(crate) wake_ups: bool,
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    host: Host,
    /// Saves looking up the name.
    address: Option<IpAddr>,
    port: u16,
}

/// One server to be tried, and what the driver needs for it alone.
pub(crate) struct Target {
    /// As errors call it.
    pub(crate) name: String,
    pub(crate) driver: tokio_postgres::Config,
    pub(crate) is_socket: bool,
}

impl Config {
    /// The settings of the environment: `DATABASE_URL`, and for what it leaves open, or instead
    /// of it, the service that `PGSERVICE` names and libpq's variables `PGHOST`, `PGHOSTADDR`,
    /// `PGPORT`, `PGDATABASE`, `PGUSER`, `PGPASSWORD`, `PGPASSFILE`, `PGAPPNAME`, `PGOPTIONS`,
    /// `PGCONNECT_TIMEOUT`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`,
    /// `PGSSLNEGOTIATION`, `PGCHANNELBINDING`, `PGLOADBALANCEHOSTS` and `PGTARGETSESSIONATTRS`.
    /// Then `~/.pgpass` and `~/.postgresql/root.crt`, where they exist. `None` if no variable names
    /// a server.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a variable that cannot be read.
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_variables(&variable)
    }

    fn from_variables(variable: &impl Variables) -> Result<Option<Self>> {
        let options = match variable("DATABASE_URL") {
            Some(url) => Options::parse(&url, variable)?,
            None if conninfo::names_a_server(variable) => Options::default(),
            None => return Ok(None),
        };
        options.with_environment(variable).and_then(Self::of).map(Some)
    }

    fn of(options: Options) -> Result<Self> {
        let driver = options.driver()?;
        Ok(Self {
            places: Place::all_of(&driver)?,
            driver: options.driver_anywhere()?,
            security: Security::of(&options)?,
            options,
            ..Self::default()
        })
    }

    /// These settings, and where they are silent those of the environment, as `psql` treats the
    /// string that it is given. See [`Config::from_env`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a variable that cannot be read.
    pub fn with_env_defaults(self) -> Result<Self> {
        let known = Self::of(self.options.clone().with_environment(&variable)?)?;
        let Self { options, driver, places, security, .. } = known;
        Ok(Self { options, driver, places, security, ..self })
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
        self.connect_timeout = Some(timeout);
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

    /// How the process holds what it reserves until it confirms it, so that nothing leaks when it
    /// dies; see [`Lease`](crate::Lease). Default: [`LeaseOptions::default`].
    #[must_use]
    pub fn with_lease(mut self, options: LeaseOptions) -> Self {
        self.lease = Some(options);
        self
    }

    /// The process registers as no manager: what it reserves lives until it is released, even if
    /// the process dies before anybody else knows of it.
    #[must_use]
    pub fn without_lease(mut self) -> Self {
        self.lease = None;
        self
    }

    /// Whether what this process frees or enqueues through its pool wakes schedulers, here and in
    /// other processes (see `Scheduler`). For that it keeps one connection more from the first such
    /// call on; no call waits for it. Default: yes.
    #[must_use]
    pub fn with_wake_ups(mut self, wake: bool) -> Self {
        self.wake_ups = wake;
        self
    }

    /// What the server shows as `application_name`. Default: that of the string or `PGAPPNAME`,
    /// else `occupancy`.
    #[must_use]
    pub fn with_application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = Some(name.into());
        self
    }

    /// The same server, but this database on it.
    #[must_use]
    pub fn with_database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    /// Opens one connection outside any pool, for instance to reserve and to write a row of
    /// one's own in the same transaction. It is closed when the client is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] if no host can be reached, [`ErrorKind::Tls`] if none can be
    /// trusted, [`ErrorKind::Config`] for a certificate's file that cannot be read; and what the
    /// server answers.
    pub async fn connect(&self) -> Result<Client> {
        connect::open(self).await.map(|(client, _)| client)
    }

    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    /// Every server that may be meant, in the order in which they are tried.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<_> = self.places.iter().map(|place| self.target(place)).collect();
        if self.driver.get_load_balance_hosts() == LoadBalanceHosts::Random {
            use rand::seq::SliceRandom;
            targets.shuffle(&mut rand::rng());
        }
        targets
    }

    fn target(&self, place: &Place) -> Target {
        let mut driver = self.resolved();
        match &place.host {
            Host::Tcp(name) => driver.host(name),
            Host::Unix(directory) => driver.host_path(directory),
        };
        if let Some(address) = place.address {
            driver.hostaddr(address);
        }
        driver.port(place.port);
        if driver.get_password().is_none()
            && let Some(password) = self.password_in_file(place)
        {
            driver.password(password);
        }
        let is_socket = matches!(place.host, Host::Unix(_)) && place.address.is_none();
        Target { name: place.to_string(), driver, is_socket }
    }

    fn password_in_file(&self, place: &Place) -> Option<String> {
        let file = self.options.path("passfile")?;
        let host = match &place.host {
            Host::Unix(directory) if directory == Path::new(SOCKET_DIRECTORY) => "localhost".into(),
            host => host_name(host),
        };
        let driver = self.resolved();
        let user = match driver.get_user() {
            Some(user) => user.to_owned(),
            None => User::from_uid(Uid::effective()).ok()??.name,
        };
        let database = driver.get_dbname().unwrap_or(&user);
        passfile::look_up(&file, &Wanted { host: &host, port: place.port, database, user: &user })
    }

    /// The driver's settings with every default in place, but for the servers.
    pub(crate) fn resolved(&self) -> tokio_postgres::Config {
        let mut driver = self.driver.clone();
        if let Some(database) = &self.database {
            driver.dbname(database);
        }
        match (&self.application_name, driver.get_application_name()) {
            (Some(name), _) => driver.application_name(name),
            (None, None) => driver.application_name("occupancy"),
            (None, Some(_)) => &mut driver,
        };
        driver.connect_timeout(self.connect_timeout());
        if let Some(timeout) = self.statement_timeout {
            let given = driver.get_options().unwrap_or_default();
            let options = format!("{given} -c statement_timeout={}", timeout.as_millis());
            driver.options(options.trim_start());
        }
        notice_a_dead_peer(&mut driver);
        driver
    }

    /// The time for trying every host once.
    pub(crate) fn create_timeout(&self) -> Duration {
        let hosts = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.connect_timeout().saturating_mul(hosts)
    }

    fn connect_timeout(&self) -> Duration {
        let given = self.connect_timeout.or(self.driver.get_connect_timeout().copied());
        given.unwrap_or(Duration::from_secs(10))
    }

    /// The connection for a program that links libpq, as environment variables: unlike arguments,
    /// nobody else can see them.
    pub(crate) fn variables(&self) -> Vec<(&'static str, &str)> {
        let database = self.database.as_deref().map(|database| ("PGDATABASE", database));
        self.options.variables().chain(database).collect()
    }
}

/// Where Debian's packages put the server's socket.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";

impl Place {
    /// Where the driver would look, the default where it would not know.
    fn all_of(driver: &tokio_postgres::Config) -> Result<Vec<Self>> {
        let (hosts, addresses) = (driver.get_hosts(), driver.get_hostaddrs());
        let ports = driver.get_ports();
        let number = hosts.len().max(addresses.len()).max(1);
        let fits = |given: usize| given <= 1 || given == number;
        let each_has = |given: usize| given == 0 || given == number;
        if !fits(ports.len()) || !each_has(hosts.len()) || !each_has(addresses.len()) {
            return Err(Error::new(ErrorKind::Config, "cannot read the connection settings")
                .detail("there are not as many ports or addresses as hosts"));
        }
        let places = (0..number).map(|i| Self {
            host: match (hosts.get(i), addresses.get(i)) {
                (Some(Host::Tcp(name)), None) if name.is_empty() => default_host(),
                (Some(host), _) => host.clone(),
                (None, Some(address)) => Host::Tcp(address.to_string()),
                (None, None) => default_host(),
            },
            address: addresses.get(i).copied(),
            port: ports.get(i).or(ports.first()).copied().unwrap_or(5432),
        });
        Ok(places.collect())
    }
}

fn default_host() -> Host {
    match Path::new(SOCKET_DIRECTORY) {
        directory if directory.is_dir() => Host::Unix(PathBuf::from(directory)),
        _ => Host::Tcp("localhost".to_owned()),
    }
}

fn host_name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.display().to_string(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = host_name(&self.host).replace('/', "%2F");
        if host.contains(':') {
            return write!(f, "[{host}]:{}", self.port);
        }
        write!(f, "{host}:{}", self.port)
    }
}

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
            options: Options::default(),
            driver: tokio_postgres::Config::new(),
            places: vec![Place { host: default_host(), address: None, port: 5432 }],
            security: Security::default(),
            pool_size: 8,
            wait_timeout: Duration::from_secs(10),
            retry: RetryPolicy::default(),
            prepared_statements: false,
            application_name: None,
            database: None,
            connect_timeout: None,
            statement_timeout: None,
            lease: Some(LeaseOptions::default()),
            wake_ups: true,
        }
    }
}

impl FromStr for Config {
    type Err = Error;

    /// Reads a URL or a keyword/value string. The environment is not looked at, but for the files
    /// of a `service` that the string names.
    fn from_str(text: &str) -> Result<Self> {
        Options::parse(text, &variable).and_then(Self::of)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The URL without password and options.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.resolved();
        f.write_str("postgresql://")?;
        if let Some(user) = driver.get_user() {
            write!(f, "{user}@")?;
        }
        for (i, place) in self.places.iter().enumerate() {
            write!(f, "{}{place}", if i == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", driver.get_dbname().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio_postgres::config::TargetSessionAttrs;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Option<Config>> {
        Config::from_variables(&|name: &str| {
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
        let targets = config.targets();
        assert_eq!(
            targets.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
            ["db1:5432", "db2:5433"]
        );
        for Target { driver, .. } in targets {
            assert_eq!((driver.get_hosts().len(), driver.get_ports().len()), (1, 1));
            assert_eq!(driver.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
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
        file.write_all(b"db1:5432:platform:me:hunter2\ndb2:*:*:me:hunter3\n").expect("written");
        let path = file.path().to_str().expect("UTF-8");
        let password = |variables: &[(&str, &str)]| {
            let config = from(variables).expect("readable").expect("a server");
            let of = |target: Target| target.driver.get_password().map(<[u8]>::to_vec);
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
            config.targets().into_iter().map(|target| of(target).map(text)).collect::<Vec<_>>()
        };
        let url = ("DATABASE_URL", "postgresql://me@db1,db2,db3/platform");
        let file = ("PGPASSFILE", path);
        let [first, second, given] = ["hunter2", "hunter3", "given"].map(|p| Some(p.to_owned()));
        assert_eq!(password(&[url, file]), [first, second, None]);
        assert_eq!(password(&[url, file, ("PGPASSWORD", "given")]), vec![given; 3]);
        assert_eq!(password(&[("PGHOST", "db1"), ("PGUSER", "me"), file]), [None]);
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
    fn every_sslmode_of_libpq_is_known() {
        for mode in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
            format!("host=db sslmode={mode}").parse::<Config>().expect(mode);
        }
        let error = "host=db sslmode=maybe".parse::<Config>().expect_err("unknown");
        assert_eq!(error.detail_text(), Some("invalid value for option `sslmode`"));
        for text in ["host=db sslcert=c", "host=db sslrootcert=system sslmode=verify-full"] {
            assert_eq!(text.parse::<Config>().expect_err(text).kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn ports_and_addresses_are_as_many_as_hosts() {
        for text in ["host=a,b port=1,2,3", "host=a,b hostaddr=::1", "port=1,2"] {
            let error = text.parse::<Config>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Config);
        }
        let config: Config = "hostaddr=::1,127.0.0.1 port=6000".parse().expect("valid");
        assert_eq!(config.to_string(), "postgresql://[::1]:6000,127.0.0.1:6000/");
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
            "postgresql://me@db/platform?hunter2=hunter2",
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
    fn the_statement_timeout_joins_other_options() {
        let config: Config = "host=db options='-c lock_timeout=5s'".parse().expect("valid");
        let config = config.with_statement_timeout(Duration::from_millis(1500));
        let expected = "-c lock_timeout=5s -c statement_timeout=1500";
        assert_eq!(config.resolved().get_options(), Some(expected));
    }
}
