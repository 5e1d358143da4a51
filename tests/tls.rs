//! TLS against a real server, whose certificate is good, expired, self-signed or somebody else's.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;

use occupancy::server::Embedded;
use occupancy::{Config, Error, ErrorKind, Handles};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use tokio::process::Command;
use tokio_postgres::Client;

use crate::support::{Place, connect, program, wait_for};

/// Whose name is in the certificates that are right; it is looked up nowhere.
const HOST: &str = "db.test";

/// A certificate and its key, in PEM form.
struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        Self { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn named(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, host);
    params
}

fn expired(host: &str) -> CertificateParams {
    let mut params = named(host);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 2, 3);
    params
}

fn early(host: &str) -> CertificateParams {
    let mut params = named(host);
    params.not_before = date_time_ymd(2100, 1, 1);
    params.not_after = date_time_ymd(2101, 2, 3);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn self_signed(params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().expect("a key");
    Identity::new(&params.self_signed(&key).expect("a certificate"), &key)
}

/// A server that listens on a port of 127.0.0.1, and a superuser who stays connected to it.
struct TlsServer {
    place: Place,
    embedded: Option<Embedded>,
    admin: Client,
    issuer: Issuer<'static, KeyPair>,
    /// The certificate that has signed the good ones.
    root: PathBuf,
}

impl TlsServer {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let place = Place::new();
        let data_dir = place.data_dir();
        let embedded = data_dir.serve(Some(port)).await.unwrap_or_else(|error| {
            panic!("these tests start a server of their own: {error} {:?}", error.detail_text())
        });
        let admin = connect(embedded.url()).await;
        let key = KeyPair::generate().expect("a key");
        let params = authority("authority.test");
        let root = place.path().join("root.pem");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(&root, certificate.pem()).expect("written");
        let issuer = Issuer::new(params, key);
        Self { place, embedded: Some(embedded), admin, issuer, root }
    }

    fn signed(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        Identity::new(&params.signed_by(&key, &self.issuer).expect("a certificate"), &key)
    }

    /// Writes a file into the server's data directory, wherever that is.
    async fn write(&self, name: &str, text: &str) {
        let program = format!("umask 077; cat > {name}");
        let lines = text.trim_end().replace('\'', "''");
        let sql = format!(
            "copy (select unnest(string_to_array('{lines}', e'\\n'))) to program '{program}'"
        );
        self.admin.batch_execute(&sql).await.expect("a superuser may write");
    }

    /// Changes settings for whoever connects from now on.
    async fn set(&self, settings: &[(&str, &str)]) {
        let loaded = async || {
            let sql = "select pg_conf_load_time()::text";
            self.admin.query_one(sql, &[]).await.expect("answered").get::<_, String>(0)
        };
        for (name, value) in settings {
            let sql = format!("alter system set {name} = '{value}'");
            self.admin.batch_execute(&sql).await.expect("a superuser may configure");
        }
        let before = loaded().await;
        self.admin.batch_execute("select pg_reload_conf()").await.expect("reloading");
        wait_for("the new settings", async || loaded().await != before).await;
    }

    /// Shows this certificate from now on.
    async fn show(&self, identity: &Identity) {
        self.write("shown.crt", &identity.certificate).await;
        self.write("shown.key", &identity.key).await;
        let settings =
            [("ssl", "on"), ("ssl_cert_file", "shown.crt"), ("ssl_key_file", "shown.key")];
        self.set(&settings).await;
    }

    /// Lets everybody on the loopback interface in who comes as `kind` says.
    async fn admit(&self, kind: &str, method: &str) {
        self.write("pg_hba.conf", &format!("{kind} all all 127.0.0.1/32 {method}")).await;
        self.set(&[]).await;
    }

    /// How to reach it, by the name that is in good certificates.
    fn text(&self, options: &str) -> String {
        let url = self.embedded.as_ref().expect("it runs").url();
        let (credentials, place) = url["postgresql://".len()..].split_once('@').expect("a URL");
        let (user, password) = credentials.split_once(':').expect("a password");
        let port = place.split(['/', ':']).nth(1).expect("a port");
        format!(
            "host={HOST} hostaddr=127.0.0.1 port={port} user={user} password={password} dbname=occupancy {options}"
        )
    }

    /// Whether a connection with these options is encrypted, or why there is none.
    async fn attempt(&self, options: &str) -> Result<bool, Error> {
        let config: Config = self.text(options).parse().expect("valid");
        let client = config.connect().await?;
        let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        Ok(client.query_one(sql, &[]).await.expect("answered").get(0))
    }

    /// The detail of the error of a connection whose encryption must fail.
    async fn distrusted(&self, options: &str) -> String {
        let error = self.attempt(options).await.expect_err(options);
        assert_eq!(error.kind(), ErrorKind::Tls, "{options}: {error:?}");
        assert!(!error.is_transient() && error.hint_text().is_some(), "{options}: {error:?}");
        error.detail_text().expect("a detail").to_owned()
    }

    async fn stop(mut self) {
        drop(self.admin);
        self.embedded.take().expect("it runs").terminate().await.expect("it stops");
        drop(self.place);
    }
}

#[tokio::test]
async fn every_sslmode_trusts_exactly_the_certificates_that_libpq_describes() {
    let server = TlsServer::start().await;
    let root = format!("sslrootcert={}", server.root.display());
    let good = server.signed(&named(HOST));
    let (late, soon, stranger, wrong_name) = (
        server.signed(&expired(HOST)),
        server.signed(&early(HOST)),
        self_signed(&named(HOST)),
        server.signed(&named("other.test")),
    );
    let (why_late, why_soon, why_stranger, why_wrong_name) = (
        "expired on 2001-02-03T00:00:00Z",
        "valid only from 2100-01-01T00:00:00Z",
        "root.pem has signed it",
        "valid for DnsName(\"other.test\")",
    );
    // The certificate; what is wrong with its chain; what is wrong with it as a whole.
    let certificates = [
        (&good, None, None),
        (&late, Some(why_late), Some(why_late)),
        (&soon, Some(why_soon), Some(why_soon)),
        (&stranger, Some(why_stranger), Some(why_stranger)),
        (&wrong_name, None, Some(why_wrong_name)),
    ];
    for (identity, chain, whole) in certificates {
        server.show(identity).await;
        for (mode, encrypted) in [("disable", false), ("allow", false), ("prefer", true)] {
            for options in [format!("sslmode={mode}"), format!("sslmode={mode} {root}")] {
                assert_eq!(server.attempt(&options).await.expect(&options), encrypted, "{options}");
            }
        }
        assert!(server.attempt("").await.expect("the default is prefer"));
        assert!(server.attempt("sslmode=require").await.expect("it trusts everybody"));
        for (mode, wrong) in [("require", chain), ("verify-ca", chain), ("verify-full", whole)] {
            let options = format!("sslmode={mode} {root}");
            match wrong {
                None => assert!(server.attempt(&options).await.expect(&options), "{options}"),
                Some(why) => {
                    let detail = server.distrusted(&options).await;
                    assert!(detail.contains(why) && detail.contains(HOST), "{options}: {detail}");
                }
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_named_as_root_is_trusted_for_itself() {
    let server = TlsServer::start().await;
    let mut own = named(HOST);
    // As `openssl req -x509` makes them.
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut late = expired(HOST);
    late.is_ca = own.is_ca;
    for (params, trusted) in [(own, true), (late, false)] {
        let identity = self_signed(&params);
        let root = server.place.path().join("own.pem");
        fs::write(&root, &identity.certificate).expect("written");
        server.show(&identity).await;
        let options = format!("sslmode=verify-full sslrootcert={}", root.display());
        assert_eq!(server.attempt(&options).await.is_ok(), trusted);
        let other = format!("sslmode=verify-ca sslrootcert={}", server.root.display());
        server.distrusted(&other).await;
        let other_name = options.replace("verify-full", "verify-full host=127.0.0.1");
        server.distrusted(&other_name).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn certificates_between_the_root_and_the_servers_own_are_followed() {
    let server = TlsServer::start().await;
    let key = KeyPair::generate().expect("a key");
    let params = authority("between.test");
    let between = params.signed_by(&key, &server.issuer).expect("a certificate").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let own = Identity::new(&named(HOST).signed_by(&key, &issuer).expect("a certificate"), &key);
    let chain = Identity { certificate: format!("{}{between}", own.certificate), ..own };
    server.show(&chain).await;
    let root = format!("sslmode=verify-full sslrootcert={}", server.root.display());
    assert!(server.attempt(&root).await.expect("from one to the next"));

    // Nothing leads from the root to the server's; but the root may be any in its file.
    server.show(&Identity { certificate: own.certificate, ..chain }).await;
    server.distrusted(&root).await;
    let several = server.place.path().join("several.pem");
    let other = self_signed(&authority("other.test")).certificate;
    fs::write(&several, format!("{other}{between}")).expect("written");
    let several = format!("sslmode=verify-full sslrootcert={}", several.display());
    assert!(server.attempt(&several).await.expect("the second root"));
    server.stop().await;
}

/// Begins to be a server, in a version of TLS, with a certificate and a key that need not be its;
/// returns its port. Whoever has shaken hands with it is left alone.
fn pretender(identity: &Identity, key: &str, version: &'static SupportedProtocolVersion) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let key = provider.key_provider.load_private_key(key).expect("a key of a known kind");
    let both = CertifiedKey::new(vec![certificate.expect("a certificate")], key);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(both)));
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            // What it says of an end is the client's to tell.
            let _ = stream.read_exact(&mut [0; 8]);
            let _ = stream.write_all(b"S");
            let _ = tls.complete_io(&mut stream);
        }
    });
    port
}

#[tokio::test]
async fn a_certificate_without_its_key_is_trusted_by_nobody_who_insists() {
    // Certificates are public: whoever stands between may show the server's own.
    let place = Place::new();
    let identity = self_signed(&named(HOST));
    let root = place.path().join("own.pem");
    fs::write(&root, &identity.certificate).expect("written");
    let other = self_signed(&named(HOST));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (key, is_its_own) in [(&identity.key, true), (&other.key, false)] {
            let port = pretender(&identity, key, version);
            for options in [
                "sslmode=require".to_owned(),
                format!("sslmode=verify-full sslrootcert={}", root.display()),
            ] {
                let text = format!("host={HOST} hostaddr=127.0.0.1 port={port} user=u {options}");
                let config: Config = text.parse().expect("valid");
                let error = config.connect().await.expect_err("it is no database");
                let told = error.detail_text().unwrap_or_default();
                let case = format!("{version:?} {options}: {error:?}");
                assert_eq!(error.kind() == ErrorKind::Tls, !is_its_own, "{case}");
                assert_eq!(told.ends_with("does not hold its key"), !is_its_own, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_serves_only_those_who_do_not_insist() {
    let server = TlsServer::start().await;
    let root = format!("sslrootcert={}", server.root.display());
    for mode in ["disable", "allow", "prefer"] {
        assert!(!server.attempt(&format!("sslmode={mode}")).await.expect(mode));
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let options = format!("sslmode={mode} {root}");
        let error = server.attempt(&options).await.expect_err(mode);
        assert_eq!(error.to_string(), "the server does not support TLS");
        server.distrusted(&options).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn prefer_and_allow_take_the_way_that_the_server_takes() {
    let server = TlsServer::start().await;
    server.show(&server.signed(&named(HOST))).await;
    let refused = async |options: &str| {
        let error = server.attempt(options).await.expect_err(options);
        error.sqlstate().map(ToOwned::to_owned)
    };
    server.admit("hostssl", "scram-sha-256").await;
    for mode in ["allow", "prefer", "require"] {
        assert!(server.attempt(&format!("sslmode={mode}")).await.expect(mode));
    }
    assert_eq!(refused("sslmode=disable").await.as_deref(), Some("28000"));

    server.admit("hostnossl", "scram-sha-256").await;
    for mode in ["disable", "allow", "prefer"] {
        assert!(!server.attempt(&format!("sslmode={mode}")).await.expect(mode));
    }
    assert_eq!(refused("sslmode=require").await.as_deref(), Some("28000"));
    for mode in ["allow", "prefer", "disable"] {
        let options = format!("sslmode={mode} password=wrong");
        assert_eq!(refused(&options).await.as_deref(), Some("28P01"), "{mode}");
    }

    // A server so old that it speaks nothing that is still safe.
    server.admit("host", "scram-sha-256").await;
    let old = [("ssl_min_protocol_version", "TLSv1"), ("ssl_max_protocol_version", "TLSv1.1")];
    server.set(&old).await;
    assert!(!server.attempt("sslmode=prefer").await.expect("without"));
    let error = server.attempt("sslmode=require").await.expect_err("with");
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_of_the_clients_own_is_shown_to_the_server() {
    let server = TlsServer::start().await;
    server.show(&server.signed(&named(HOST))).await;
    server.write("clients.crt", &fs::read_to_string(&server.root).expect("there")).await;
    server.set(&[("ssl_ca_file", "clients.crt")]).await;
    server.admit("hostssl", "cert").await;
    let client = server.signed(&named("occupancy"));
    let [certificate, key] =
        ["client.crt", "client.key"].map(|name| server.place.path().join(name));
    fs::write(&certificate, &client.certificate).expect("written");
    fs::write(&key, &client.key).expect("written");
    let options = format!(
        "sslmode=verify-full sslrootcert={} sslcert={} sslkey=",
        server.root.display(),
        certificate.display()
    );
    assert!(server.attempt(&format!("{options}{}", key.display())).await.expect("known"));

    let error = server.attempt("sslmode=require").await.expect_err("nobody");
    assert_eq!(error.sqlstate(), Some("28000"), "{error:?}");
    let stranger = self_signed(&named("occupancy"));
    fs::write(&certificate, &stranger.certificate).expect("written");
    let config: Config =
        server.text(&format!("{options}{}", key.display())).parse().expect("valid");
    let error = config.connect().await.expect_err("they do not fit");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    fs::write(&key, &stranger.key).expect("written");
    let error = config.connect().await.expect_err("a stranger");
    assert!(!error.is_transient(), "{error:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_file_that_is_missing_or_no_certificate_is_named_and_not_quoted() {
    let place = Place::new();
    let file = place.path().join("root.pem");
    let connect = async |mode: &str| {
        let text = format!("host=127.0.0.1 port=1 sslmode={mode} sslrootcert={}", file.display());
        text.parse::<Config>().expect("valid").connect().await.expect_err("no connection")
    };
    for content in [
        None,
        Some(""),
        Some("-----BEGIN marker"),
        Some("-----BEGIN CERTIFICATE-----\nbWFya2Vy\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(content) = content {
            fs::write(&file, content).expect("written");
        }
        for mode in ["require", "verify-ca", "verify-full"] {
            let error = connect(mode).await;
            assert_eq!(error.kind(), ErrorKind::Config, "{mode}: {error:?}");
            let told = format!("{error} {:?}", error.detail_text());
            assert!(told.contains("root.pem") && !told.contains("marker"), "{told}");
        }
    }
    let error: Config = "host=127.0.0.1 port=1 sslmode=verify-full".parse().expect("valid");
    let error = error.connect().await.expect_err("no root");
    assert_eq!(error.to_string(), "verifying the server needs a root certificate");
}

/// Pool and command line connect the same way.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_is_encrypted_as_the_environment_says() {
    let server = TlsServer::start().await;
    server.show(&server.signed(&named(HOST))).await;
    server.admit("hostssl", "scram-sha-256").await;
    let service = server.place.path().join("services");
    let pairs = server.text("").replace(' ', "\n");
    let root = server.root.display();
    fs::write(&service, format!("[ours]\n{pairs}\nsslrootcert={root}\n")).expect("written");
    let occupancy = async |arguments: &[&str], mode: &str| {
        let mut command = Command::new(program());
        command.env_remove("DATABASE_URL");
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command.env("PGSERVICE", "ours").env("PGSERVICEFILE", &service).env("PGSSLMODE", mode);
        let output = command.output().await.expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(occupancy(&["migrate"], "verify-full").await, (Some(0), String::new()));
    assert_eq!(occupancy(&["status", "--json"], "verify-ca").await, (Some(0), String::new()));
    let (code, stderr) = occupancy(&["audit"], "disable").await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no encryption") && stderr.contains("code: 28000"), "{stderr}");

    let verified = server.text(&format!("sslmode=verify-full sslrootcert={root}"));
    let config: Config = verified.parse().expect("valid");
    let handles = Handles::connect(&config).await.expect("encrypted");
    assert_eq!(handles.tracker().audit().await.expect("audited"), []);

    server.show(&self_signed(&named(HOST))).await;
    let (code, stderr) = occupancy(&["audit"], "verify-full").await;
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("error: the server's certificate is not trusted"), "{stderr}");
    let error = Handles::connect(&config).await.expect_err("distrusted");
    assert_eq!(error.kind(), ErrorKind::Tls);
    server.stop().await;
}
