//! How kubelets are reached and recognised.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Object, Status};
use component_base::tls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::hop::{DIAL_LIMIT, Target};
use crate::config::KubeletArgs;

/// The port if a node says nothing.
const PORT: u16 = 10250;

/// Why kubelets cannot be reached with these flags.
#[derive(Debug, thiserror::Error)]
pub enum KubeletsError {
    /// A certificate or key cannot be used.
    #[error("cannot use the kubelet client certificate")]
    Certificate(#[source] tls::TlsError),
    /// The authority cannot be used.
    #[error("no usable authority in {path}")]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Certificate and key do not fit.
    #[error("cannot set up TLS to kubelets")]
    Tls(#[from] rustls::Error),
}

/// How this server speaks to kubelets, pods and services.
pub struct Kubelets {
    verified: Arc<ClientConfig>,
    trusting: Arc<ClientConfig>,
    anonymous: Arc<ClientConfig>,
    address_types: Vec<String>,
    dial_limit: Duration,
}

impl Kubelets {
    /// Reads the files the flags name.
    pub fn load(args: &KubeletArgs) -> Result<Self, KubeletsError> {
        let trusting = client_config(args, None)?;
        let verified = match &args.kubelet_certificate_authority {
            None => trusting.clone(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in tls::read_certificates(path).map_err(KubeletsError::Certificate)? {
                    roots.add(authority).map_err(|source| KubeletsError::Authority { path: path.clone(), source })?;
                }
                client_config(args, Some(roots))?
            }
        };
        let nobody = KubeletArgs { kubelet_client_certificate: None, kubelet_client_key: None, ..args.clone() };
        Ok(Self {
            verified: Arc::new(verified),
            trusting: Arc::new(trusting),
            anonymous: Arc::new(client_config(&nobody, None)?),
            address_types: args.kubelet_preferred_address_types.clone(),
            dial_limit: if args.kubelet_timeout.is_zero() { DIAL_LIMIT } else { args.kubelet_timeout },
        })
    }

    /// TLS to pods and services, which have no certificates this server could verify and see none of its own.
    pub fn anonymous_tls(&self) -> Arc<ClientConfig> {
        self.anonymous.clone()
    }

    /// The kubelet of a node; `trusting` leaves its certificate unverified, as the client asked for.
    pub fn target(&self, node: &Object, trusting: bool) -> Result<Target, Status> {
        let host = self.address(node).ok_or_else(|| {
            Status::internal(format!("no preferred addresses found; known addresses of node {:?}", node.name()))
        })?;
        let port = node.i64_at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]).filter(|port| *port != 0);
        let port = port.map_or(Some(PORT), |port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| Status::internal("the kubelet's port is out of range"))?;
        let tls = if trusting { &self.trusting } else { &self.verified };
        Ok(Target { host, port, tls: Some(tls.clone()), dial_limit: self.dial_limit })
    }

    fn address(&self, node: &Object) -> Option<String> {
        let addresses = node.list_at(&["status", "addresses"]);
        self.address_types.iter().find_map(|kind| {
            let address = addresses.iter().find(|address| address.str("type") == kind)?.str("address");
            valid_host(address).then(|| address.to_owned())
        })
    }
}

/// A host name or an address; nothing that could end a header or a name.
pub(super) fn valid_host(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
        || apimachinery::names::dns1123_subdomain(&host.to_ascii_lowercase()).is_empty()
}

fn client_config(args: &KubeletArgs, roots: Option<RootCertStore>) -> Result<ClientConfig, KubeletsError> {
    let provider = tls::provider();
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
    };
    let mut config = match (&args.kubelet_client_certificate, &args.kubelet_client_key) {
        (Some(cert), Some(key)) => {
            let chain = tls::read_certificates(cert).map_err(KubeletsError::Certificate)?;
            let key = tls::read_private_key(key).map_err(KubeletsError::Certificate)?;
            builder.with_client_auth_cert(chain, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Believes every certificate, as upstream does where no authority is configured; the key must still be its own.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
