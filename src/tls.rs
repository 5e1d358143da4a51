//! TLS as libpq's `sslmode` describes it, with rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::conninfo::Options;
use crate::error::{Error, ErrorKind, Result};

/// What `sslmode` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub(crate) enum Mode {
    Disable,
    Allow,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => {
                return Err(unusable("cannot read the connection settings")
                    .detail("invalid value for option `sslmode`")
                    .hint("one of disable, allow, prefer, require, verify-ca, verify-full"));
            }
        })
    }
}

/// The options that are about encryption.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Security {
    pub(crate) mode: Mode,
    roots: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Security {
    pub(crate) fn of(options: &Options) -> Result<Self> {
        let security = Self {
            mode: options.get("sslmode").map(Mode::parse).transpose()?.unwrap_or_default(),
            roots: options.path("sslrootcert"),
            certificate: options.path("sslcert"),
            key: options.path("sslkey"),
        };
        if security.roots.as_deref() == Some(Path::new("system")) {
            return Err(unusable("sslrootcert=system is not supported").hint(
                "name the file of the system's roots, such as /etc/ssl/certs/ca-certificates.crt",
            ));
        }
        if security.certificate.is_some() != security.key.is_some() {
            return Err(unusable("a client certificate needs both sslcert and sslkey"));
        }
        Ok(security)
    }

    /// How much of the server's certificate has to be right.
    fn check(&self) -> Check {
        match self.mode {
            Mode::VerifyFull => Check::ChainAndName,
            Mode::VerifyCa => Check::Chain,
            // For whoever had a root certificate before there was verify-ca.
            Mode::Require if self.roots.is_some() => Check::Chain,
            _ => Check::Nothing,
        }
    }

    /// What the driver encrypts with. The files are read anew for each connection, so that a
    /// process that runs for long notices a renewed certificate.
    pub(crate) fn connector(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(self.verifier(&provider)?);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("cannot set up TLS").caused_by(error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let parsed = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
                builder.with_client_auth_cert(chain, parsed).map_err(|error| {
                    unusable("sslcert and sslkey do not fit")
                        .detail(format!("{}, {}", certificate.display(), key.display()))
                        .caused_by(error)
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(MakeRustlsConnect::new(config))
    }

    fn verifier(&self, provider: &CryptoProvider) -> Result<Verifier> {
        let check = self.check();
        let trusted = match (&self.roots, check) {
            (_, Check::Nothing) => Vec::new(),
            (Some(roots), _) => certificates(roots)?,
            (None, _) => {
                return Err(unusable("verifying the server needs a root certificate")
                    .hint("name its file with sslrootcert, or put it at ~/.postgresql/root.crt"));
            }
        };
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(trusted.iter().cloned());
        if let (Some(file), 0) = (&self.roots, usable)
            && check != Check::Nothing
        {
            return Err(
                unusable("there is no usable root certificate").detail(file.display().to_string())
            );
        }
        let algorithms = provider.signature_verification_algorithms;
        Ok(Verifier { check, roots, trusted, algorithms })
    }

    fn distrust(&self, reason: &CertificateError) -> (String, &'static str) {
        let roots = self.roots.as_deref().unwrap_or(Path::new("")).display();
        match reason {
            CertificateError::ExpiredContext { not_after, .. } => {
                (format!("it expired on {}", day(*not_after)), "renew it at the server")
            }
            CertificateError::NotValidYetContext { not_before, .. } => (
                format!("it is valid only from {}", day(*not_before)),
                "compare the clocks of both machines",
            ),
            CertificateError::NotValidForNameContext { presented, .. } => (
                format!("it is valid for {}", or_nobody(presented)),
                "connect by a name that is in it, or check the chain alone with sslmode=verify-ca",
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                format!("no certificate in {roots} has signed it"),
                "set sslrootcert to the certificate of the authority that signed it",
            ),
            CertificateError::ApplicationVerificationFailure => (
                "whoever shows it does not hold its key".to_owned(),
                "find out who answers at this address",
            ),
            other => (other.to_string(), "see how the server's certificate was made"),
        }
    }
}

/// An error of the handshake in words; `None` if it is about something else.
pub(crate) fn complaint(
    security: &Security,
    server: &str,
    error: &tokio_postgres::Error,
) -> Option<Error> {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if cause == "server does not support TLS" {
        return Some(refused("the server does not support TLS").detail(server).hint(
            "switch ssl on in its postgresql.conf, or allow to go without by sslmode=prefer",
        ));
    }
    let failed = || refused("the TLS handshake failed").detail(format!("{server}: {cause}"));
    match handshake_error(error) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            let (why, hint) = security.distrust(reason);
            let distrusted = refused("the server's certificate is not trusted");
            Some(distrusted.detail(format!("{server}: {why}")).hint(hint))
        }
        Some(_) => Some(failed()),
        // A connection that breaks is another matter, which may pass.
        None => None,
    }
}

/// The names in a certificate as rustls lists them.
fn or_nobody(names: &[String]) -> String {
    if names.is_empty() { "no host (no subjectAltName)".to_owned() } else { names.join(", ") }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|e| e.to_string(), |t| t.to_string())
}

/// rustls' error, which the driver wraps into one of input and output.
fn handshake_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let io = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref()
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(file, &error))?;
    if certificates.is_empty() {
        Err(unreadable(file, &PemError::NoItemsFound))
    } else {
        Ok(certificates)
    }
}

/// What is in the file is not told: it may be a key.
fn unreadable(file: &Path, error: &PemError) -> Error {
    let why = match error {
        PemError::Io(error) => error.to_string(),
        _ => "it holds nothing usable in PEM form".to_owned(),
    };
    unusable(format!("cannot read {}", file.display())).detail(why)
}

fn unusable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Tls, message)
}

/// A signature in the handshake is the key's; rustls has the same word for one in the certificate.
fn of_the_key(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::ApplicationVerificationFailure.into()
        }
        other => other,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// Checks as much of the server's certificate as was asked for, and always that the server holds
/// its key.
#[derive(Debug)]
struct Verifier {
    check: Check,
    roots: RootCertStore,
    trusted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// A certificate that signs itself is an authority's in webpki's eyes, and no server's. Who
    /// names that very certificate as a root means it. Its dates are checked before.
    fn is_named_itself(&self, certificate: &CertificateDer<'_>, error: &rustls::Error) -> bool {
        let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error
        else {
            return false;
        };
        matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
            && self.trusted.iter().any(|trusted| trusted == certificate)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let (roots, algorithms) = (&self.roots, self.algorithms.all);
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )
        .or_else(|e| if self.is_named_itself(end_entity, &e) { Ok(()) } else { Err(e) })?;
        if self.check == Check::ChainAndName {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms).map_err(of_the_key)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms).map_err(of_the_key)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
