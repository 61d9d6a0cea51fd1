//! Files that are looked at again when a handshake needs them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{TlsError, provider, read_certificates, read_private_key};

/// Between two looks at the files; a burst of handshakes shares one.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

type Stamp = Vec<Option<(SystemTime, u64)>>;

/// A value made from files, remade when a file changed.
struct Reloaded<T: ?Sized> {
    paths: Vec<PathBuf>,
    make: fn(&[PathBuf]) -> Result<Arc<T>, TlsError>,
    current: ArcSwap<Arc<T>>,
    seen: Mutex<(Instant, Stamp)>,
}

impl<T: ?Sized> Reloaded<T> {
    fn new(paths: Vec<PathBuf>, make: fn(&[PathBuf]) -> Result<Arc<T>, TlsError>) -> Result<Self, TlsError> {
        let stamp = stamp(&paths);
        let first = make(&paths)?;
        Ok(Self { paths, make, current: ArcSwap::from_pointee(first), seen: Mutex::new((Instant::now(), stamp)) })
    }

    fn get(&self) -> Arc<T> {
        self.look();
        Arc::clone(&self.current.load())
    }

    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0.elapsed() < LOOK_INTERVAL {
            return;
        }
        seen.0 = Instant::now();
        let stamp = stamp(&self.paths);
        if stamp == seen.1 {
            return;
        }
        match (self.make)(&self.paths) {
            Ok(made) => {
                tracing::info!(files = ?self.paths, "reloaded");
                self.current.store(Arc::new(made));
                seen.1 = stamp;
            }
            // The stamp stays old, so a pair that is half written is tried again.
            Err(error) => {
                tracing::warn!(files = ?self.paths, %error, "changed files cannot be used, keeping the old ones");
            }
        }
    }
}

fn stamp(paths: &[PathBuf]) -> Stamp {
    let one = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
    paths.iter().map(one).collect()
}

/// Serves a certificate and key from files.
pub(super) struct CertificateResolver(Reloaded<CertifiedKey>);

impl CertificateResolver {
    pub(super) fn new(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        Reloaded::new(vec![cert, key], |paths| load_pair(&paths[0], &paths[1])).map(Self)
    }

    /// The pair as the files have it now.
    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        self.0.get()
    }
}

fn load_pair(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    CertifiedKey::from_der(read_certificates(cert)?, read_private_key(key)?, &provider())
        .map(Arc::new)
        .map_err(|source| TlsError::Pair { cert: cert.to_owned(), source })
}

impl fmt::Debug for CertificateResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateResolver").field(&self.0.paths).finish()
    }
}

/// Verifies client certificates against bundles of authorities that are followed on disk.
pub struct ClientVerifier {
    inner: Reloaded<dyn ClientCertVerifier>,
    algorithms: Vec<SignatureScheme>,
}

impl ClientVerifier {
    /// Reads the bundles.
    pub fn new(authorities: Vec<PathBuf>) -> Result<Self, TlsError> {
        let inner = Reloaded::new(authorities, load_authorities)?;
        Ok(Self { inner, algorithms: provider().signature_verification_algorithms.supported_schemes() })
    }

    /// Whether a chain (leaf first) leads to one of the authorities and may be used by a client now.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
        let (leaf, rest) = chain.split_first().ok_or_else(|| TlsError::Certificate("the chain is empty".to_owned()))?;
        self.verify_client_cert(leaf, rest, UnixTime::now())
            .map(|_| ())
            .map_err(|error| TlsError::Certificate(error.to_string()))
    }
}

fn load_authorities(paths: &[PathBuf]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for path in paths {
        for certificate in read_certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::ClientCa { path: path.clone(), reason: error.to_string() })?;
        }
    }
    let path = paths.first().cloned().unwrap_or_default();
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::ClientCa { path, reason: error.to_string() })
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").field("authorities", &self.inner.paths).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: authorities may change while the process runs, and clients have one certificate anyway.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.inner.get().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.get().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.get().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.clone()
    }
}
