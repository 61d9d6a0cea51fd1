//! TLS of servers: certificates that reload without a restart, client certificates, and who a client certificate names.

mod named;
mod reload;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub use reload::ClientVerifier;
pub use settings::{CipherSuite, MinVersion, NamedFiles, TlsSettings};

/// The files of a TLS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, leaf first (PEM).
    pub cert: PathBuf,
    /// Private key of the leaf (PEM).
    pub key: PathBuf,
    /// Authorities that sign client certificates; without them clients are not asked for one.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be set up, or a certificate not be understood.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file is missing or holds nothing usable.
    #[error("cannot read {what} from {path}", path = path.display())]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or the key type is not supported.
    #[error("cannot use the certificate {cert} with its key", cert = cert.display())]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// The client authorities cannot be used.
    #[error("cannot use the client authorities in {path}: {reason}", path = path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The TLS library refused the settings.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
    /// A self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(String),
    /// A certificate is not X.509 or names nobody.
    #[error("cannot read the certificate: {0}")]
    Certificate(String),
}

/// The one crypto provider of this project.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A server that serves `files` and follows their changes.
///
/// Changed files are noticed by the handshakes that come after, at most one look a second, so an idle server does no
/// work. A changed file that cannot be used is logged and the old one stays in use. A client may come without a
/// certificate; one that comes with a certificate no authority in `client_ca` has signed is refused.
pub fn server_config(files: TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let authorities = files.client_ca.clone().into_iter().collect();
    server_config_with(files, authorities, &TlsSettings::default())
}

/// As [`server_config`], with settings, and client certificates from any of several bundles (`client_ca` is not added by
/// itself).
///
/// The caller tells the bundles apart afterwards with a [`ClientVerifier`] for each.
pub fn server_config_with(
    files: TlsFiles,
    authorities: Vec<PathBuf>,
    settings: &TlsSettings,
) -> Result<Arc<ServerConfig>, TlsError> {
    let default = reload::CertificateResolver::new(files.cert, files.key)?;
    let resolver = Arc::new(named::ByName::new(&settings.named, default)?);
    finish(resolver, authorities, settings)
}

/// A server with a certificate made for this run only, for programs that were given none.
pub fn self_signed_config(hosts: Vec<String>, client_ca: Option<PathBuf>) -> Result<Arc<ServerConfig>, TlsError> {
    let made = rcgen::generate_simple_self_signed(hosts).map_err(|error| TlsError::SelfSigned(error.to_string()))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let signer = provider().key_provider.load_private_key(key).map_err(TlsError::Setup)?;
    let certified = rustls::sign::CertifiedKey::new(vec![made.cert.der().clone()], signer);
    let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    finish(resolver, client_ca.into_iter().collect(), &TlsSettings::default())
}

fn finish(
    resolver: Arc<dyn rustls::server::ResolvesServerCert>,
    authorities: Vec<PathBuf>,
    settings: &TlsSettings,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(settings.provider()))
        .with_protocol_versions(settings.versions())
        .map_err(TlsError::Setup)?;
    let mut config = if authorities.is_empty() {
        builder.with_no_client_auth().with_cert_resolver(resolver)
    } else {
        builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(authorities)?)).with_cert_resolver(resolver)
    };
    config.alpn_protocols = settings.protocols();
    // Some clients name the longest keys first.
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}

/// Reads all certificates of a PEM file.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem { what: "certificates", path: path.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?;
    if certificates.is_empty() {
        return Err(wrong(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

/// Reads the private key of a PEM file.
pub fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem {
        what: "a private key",
        path: path.to_owned(),
        source,
    })
}

/// Who a client certificate names: the user and the groups of Kubernetes' x509 authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Subject common name: the user.
    pub common_name: String,
    /// Subject organizations: the groups.
    pub organizations: Vec<String>,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
}

/// Reads the subject of a certificate that the TLS handshake has verified.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, TlsError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| TlsError::Certificate(error.to_string()))?;
    let subject = parsed.subject();
    let common_name = subject
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .ok_or_else(|| TlsError::Certificate("the subject has no common name".to_owned()))?;
    Ok(PeerIdentity {
        common_name: common_name.to_owned(),
        organizations: subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect(),
        not_after: parsed.validity().not_after.timestamp(),
    })
}

#[cfg(test)]
mod tests;
