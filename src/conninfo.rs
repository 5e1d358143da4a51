//! Connection strings, service files and libpq's variables, all read into the same options.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::error::{Error, ErrorKind, Result};

/// The options that the driver understands.
const DRIVER: [&str; 18] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
    "application_name",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "load_balance_hosts",
    "channel_binding",
    "sslnegotiation",
];

/// The options that this crate understands by itself.
const OURS: [&str; 6] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "passfile", "service"];

/// Options of libpq that are known to neither, and that an error may therefore name.
const UNSUPPORTED: [&str; 19] = [
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "sslcompression",
    "sslcertmode",
    "sslsni",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "requiressl",
    "gssencmode",
    "gsslib",
    "gssdelegation",
    "krbsrvname",
    "require_auth",
    "requirepeer",
    "replication",
    "client_encoding",
    "fallback_application_name",
    "oauth_issuer",
];

/// libpq's variables and the options that they give a default for.
const VARIABLES: [(&str, &str); 19] = [
    ("PGSERVICE", "service"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGAPPNAME", "application_name"),
    ("PGOPTIONS", "options"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
];

/// The variables of which one is enough to say that a server is meant.
const NAMING_A_SERVER: [&str; 6] =
    ["PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER"];

/// How libpq's variables are read; empty ones count as unset.
pub(crate) trait Variables: Fn(&str) -> Option<String> {}

impl<F: Fn(&str) -> Option<String>> Variables for F {}

/// Whether the environment says at all which server is meant.
pub(crate) fn names_a_server(variable: &impl Variables) -> bool {
    NAMING_A_SERVER.iter().any(|name| variable(name).is_some())
}

/// Options by name, each of them one that is supported.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Options(BTreeMap<&'static str, String>);

impl Options {
    /// Reads a URL or libpq's keyword/value form. A service that it names is looked up.
    pub(crate) fn parse(text: &str, variable: &impl Variables) -> Result<Self> {
        let unreadable = |complaint: String| {
            unreadable("the connection string", complaint)
                .hint("write postgresql://user:password@host:port/database?option=value")
        };
        let rest = ["postgresql://", "postgres://"].iter().find_map(|s| text.strip_prefix(s));
        let pairs = rest.map_or_else(|| keywords(text), url).map_err(unreadable)?;
        Self::of(pairs).map_err(unreadable)?.with_service(variable)
    }

    /// These options, and for what they leave open libpq's variables.
    pub(crate) fn with_environment(mut self, variable: &impl Variables) -> Result<Self> {
        if let (None, Some(service)) = (self.get("service"), variable("PGSERVICE")) {
            self.0.insert("service", service);
            self = self.with_service(variable)?;
        }
        for (name, option) in VARIABLES {
            if let Some(value) = variable(name) {
                self.0.entry(option).or_insert(value);
            }
        }
        for (option, path) in [("passfile", ".pgpass"), ("sslrootcert", ".postgresql/root.crt")] {
            let default = variable("HOME").map(|home| Path::new(&home).join(path));
            if let Some(path) = default.as_deref().filter(|path| path.exists()) {
                self.0.entry(option).or_insert_with(|| path.display().to_string());
            }
        }
        Ok(self)
    }

    /// These options, and for what they leave open the service that they name.
    fn with_service(mut self, variable: &impl Variables) -> Result<Self> {
        let Some(service) = self.get("service") else { return Ok(self) };
        let pairs = service_pairs(service, variable)?;
        let origin = || format!("the service {service}");
        let defaults = Self::of(pairs).map_err(|complaint| unreadable(&origin(), complaint))?;
        if defaults.get("service").is_some() {
            return Err(unreadable(&origin(), "a service may not name another one".to_owned()));
        }
        for (option, value) in defaults.0 {
            self.0.entry(option).or_insert(value);
        }
        Ok(self)
    }

    /// Takes the known options; of an unknown one only a name that cannot be a piece of a
    /// password is told.
    fn of(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in pairs {
            let (name, value) = match (name.as_str(), value.as_str()) {
                // What JDBC's URLs say.
                ("ssl", "true") => ("sslmode", "require".to_owned()),
                ("keepalives_count", _) => ("keepalives_retries", value),
                (name, _) => (name, value),
            };
            match DRIVER.iter().chain(&OURS).find(|known| **known == name) {
                Some(known) => options.0.insert(known, value),
                None if UNSUPPORTED.contains(&name) => {
                    return Err(format!("the option {name} is not supported"));
                }
                None => return Err("it has an unknown option".to_owned()),
            };
        }
        Ok(options)
    }

    pub(crate) fn get(&self, option: &str) -> Option<&str> {
        self.0.get(option).map(String::as_str)
    }

    /// The option as the name of a file; libpq takes an empty one as none.
    pub(crate) fn path(&self, option: &str) -> Option<PathBuf> {
        self.get(option).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// These options as variables, for a program that links libpq.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let of_ours = VARIABLES.into_iter().filter(|(_, option)| *option != "service");
        of_ours.filter_map(|(name, option)| Some((name, self.get(option)?)))
    }

    /// What the driver makes of its part of the options.
    pub(crate) fn driver(&self) -> Result<tokio_postgres::Config> {
        self.driver_of(|option| DRIVER.contains(&option))
    }

    /// The same, but for where the servers are.
    pub(crate) fn driver_anywhere(&self) -> Result<tokio_postgres::Config> {
        self.driver_of(|option| {
            DRIVER.contains(&option) && !["host", "hostaddr", "port"].contains(&option)
        })
    }

    fn driver_of(&self, wanted: impl Fn(&str) -> bool) -> Result<tokio_postgres::Config> {
        let theirs = self.0.iter().filter(|(option, _)| wanted(option));
        let text: String = theirs.map(|(option, value)| assignment(option, value)).collect();
        text.parse().map_err(|error: tokio_postgres::Error| {
            let complaint = std::error::Error::source(&error).map(ToString::to_string);
            let complaint = complaint.filter(|text| text.starts_with("invalid value for option `"));
            unreadable(
                "the connection settings",
                complaint.unwrap_or_else(|| "a value is malformed".to_owned()),
            )
        })
    }
}

/// Values may be passwords, in options where nobody expects them.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn unreadable(origin: &str, complaint: String) -> Error {
    Error::new(ErrorKind::Config, format!("cannot read {origin}")).detail(complaint)
}

/// An option in the keyword/value form.
fn assignment(option: &str, value: &str) -> String {
    format!("{option}='{}' ", value.replace('\\', r"\\").replace('\'', r"\'"))
}

const MALFORMED: &str = "it is malformed";

/// Splits `host=db password='it\'s'`.
fn keywords(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').ok_or(MALFORMED)?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(MALFORMED.to_owned());
        }
        let (value, after) = unquoted(value.trim_start()).ok_or(MALFORMED)?;
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// The value at the beginning of a text, and what comes after it. A backslash makes the next
/// character part of the value, quoted or not.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Some((value, &text[at + 1..])),
            blank if blank.is_whitespace() && !quoted => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    (!quoted).then_some((value, ""))
}

/// Splits what comes after `postgresql://`: `user:password@host:port,host:port/database?o=v&o=v`.
fn url(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut push = |name: &str, value: &str| {
        if !value.is_empty() {
            pairs.push((decoded(name)?, decoded(value)?));
        }
        Ok::<_, String>(())
    };
    let mut rest = text;
    let userinfo = text.find(['@', '/']).filter(|at| text[*at..].starts_with('@'));
    if let Some(at) = userinfo {
        let (user, password) = text[..at].split_once(':').unwrap_or((&text[..at], ""));
        push("user", user)?;
        push("password", password)?;
        rest = &text[at + 1..];
    }
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let hosts =
        authority.split(',').map(host_and_port).collect::<Option<Vec<_>>>().ok_or(MALFORMED)?;
    let list = |of: fn(&(String, String)) -> &str| hosts.iter().map(of).collect::<Vec<_>>();
    for (name, values) in [("host", list(|(host, _)| host)), ("port", list(|(_, port)| port))] {
        if values.iter().any(|value| !value.is_empty()) {
            push(name, &values.join(","))?;
        }
    }
    push("dbname", database)?;
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(MALFORMED)?;
        push(name, value)?;
    }
    Ok(pairs)
}

/// Splits `host`, `host:port` or `[address]:port`.
fn host_and_port(text: &str) -> Option<(String, String)> {
    let (host, after) = match text.strip_prefix('[') {
        Some(address) => address.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match after {
        "" => "",
        after => after.strip_prefix(':')?,
    };
    Some((host.to_owned(), port.to_owned()))
}

fn decoded(text: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| MALFORMED)?;
    if text.contains('\0') { Err(MALFORMED.to_owned()) } else { Ok(text.into_owned()) }
}

/// Where Debian's packages look for the system's service file.
const SYSTEM_DIRECTORY: &str = "/etc/postgresql-common";

/// What the first service file that has the service says about it: that of `PGSERVICEFILE` or
/// of the home directory, then the system's.
fn service_pairs(service: &str, variable: &impl Variables) -> Result<Vec<(String, String)>> {
    let failure = |message: String| Error::new(ErrorKind::Config, message);
    let named = variable("PGSERVICEFILE").map(PathBuf::from);
    let in_home = || variable("HOME").map(|home| Path::new(&home).join(".pg_service.conf"));
    let system = variable("PGSYSCONFDIR").unwrap_or_else(|| SYSTEM_DIRECTORY.to_owned());
    let files = [named.clone().or_else(in_home), Some(Path::new(&system).join("pg_service.conf"))];
    for file in files.into_iter().flatten() {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(_) if Some(&file) != named.as_ref() => continue,
            Err(error) => {
                return Err(failure(format!("cannot read the service file {}", file.display()))
                    .detail(error.to_string())
                    .caused_by(error));
            }
        };
        let section = section(&text, service).map_err(|line| {
            failure(format!("cannot read the service file {}", file.display()))
                .detail(format!("line {line} is neither [service] nor option=value"))
        })?;
        if let Some(pairs) = section {
            return Ok(pairs);
        }
    }
    Err(failure(format!("the service {service} is not defined"))
        .hint("define it in ~/.pg_service.conf or in the file that PGSERVICEFILE names"))
}

/// The pairs of a service, if it is there, or the number of a line that cannot be read.
fn section(text: &str, service: &str) -> Result<Option<Vec<(String, String)>>, usize> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut found: Option<Vec<_>> = None;
    for (number, line) in lines {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            found = (name == service).then(Vec::new);
        } else if let Some(pairs) = &mut found {
            let (option, value) = line.split_once('=').ok_or(number + 1)?;
            pairs.push((option.trim_end().to_owned(), value.trim_start().to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn read(text: &str) -> Vec<(&'static str, String)> {
        Options::parse(text, &nothing).expect(text).0.into_iter().collect()
    }

    fn complaint(text: &str) -> String {
        let error = Options::parse(text, &nothing).expect_err(text);
        error.detail_text().unwrap_or_default().to_owned()
    }

    #[test]
    fn every_part_of_a_url_is_an_option() {
        let options =
            read("postgres://m%40e:p%3Aw@[::1]:5433,db2/plat%20form?sslmode=require&ssl=true");
        let expected = [
            ("dbname", "plat form"),
            ("host", "::1,db2"),
            ("password", "p:w"),
            ("port", "5433,"),
            ("sslmode", "require"),
            ("user", "m@e"),
        ];
        assert_eq!(options, expected.map(|(option, value)| (option, value.to_owned())));
        assert_eq!(read("postgresql://"), []);
        assert_eq!(read("postgresql:///?host=%2Fsockets"), [("host", "/sockets".to_owned())]);
        assert_eq!(read("postgresql://db?user=a@b").len(), 2);
    }

    #[test]
    fn keywords_are_quoted_as_for_libpq() {
        let options = read(r"host = db password='it\'s \\ a' user=a\ b dbname=''");
        let expected = [("dbname", ""), ("host", "db"), ("password", r"it's \ a"), ("user", "a b")];
        assert_eq!(options, expected.map(|(option, value)| (option, value.to_owned())));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "hunter2",
            "host=db password='hunter2",
            "host=db password=my hunter2",
            "postgresql://[::1/db",
            "postgresql://[::1]x/db",
            "postgresql://db/%ff",
            "postgresql://db/a%00b",
            "postgresql://db/p?sslmode",
        ] {
            assert_eq!(complaint(text), MALFORMED, "{text}");
        }
        assert_eq!(complaint("host=db my hunter2=1"), MALFORMED);
        assert_eq!(complaint("host=db hunter2=1"), "it has an unknown option");
        assert_eq!(complaint("host=db sslcrl=c"), "the option sslcrl is not supported");
    }

    const SERVICES: &str = "# ours\n[other]\nhost=elsewhere\n\n[platform]\nhost = db1\npassword=hunter2 =\n[platform]\nhost=late\n";

    #[test]
    fn a_service_fills_what_is_left_open_and_comes_before_the_environment() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), SERVICES).expect("written");
        let variable = |name: &str| match name {
            "PGSERVICEFILE" => Some(file.path().display().to_string()),
            "PGHOST" => Some("db9".to_owned()),
            "PGPORT" => Some("6000".to_owned()),
            _ => None,
        };
        let options = Options::parse("service=platform dbname=p", &variable).expect("found");
        let options = options.with_environment(&variable).expect("readable");
        let get = |option| options.get(option).unwrap_or_default();
        let found = ["host", "password", "dbname", "port"].map(get);
        assert_eq!(found, ["db1", "hunter2 =", "p", "6000"]);

        let error = Options::parse("service=none", &variable).expect_err("undefined");
        assert_eq!(error.to_string(), "the service none is not defined");
        std::fs::write(file.path(), "[platform]\nhunter2\n").expect("written");
        let error = Options::parse("service=platform", &variable).expect_err("malformed");
        let detail = error.detail_text().expect("a detail");
        assert_eq!(detail, "line 2 is neither [service] nor option=value");
        std::fs::write(file.path(), "[platform]\nservice=platform\n").expect("written");
        Options::parse("service=platform", &variable).expect_err("nested");
        std::fs::remove_file(file.path()).expect("removed");
        let error = Options::parse("service=platform", &variable).expect_err("no file");
        assert!(error.to_string().starts_with("cannot read the service file "), "{error}");
    }
}
