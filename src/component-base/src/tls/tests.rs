//! Certificates made on the spot, written to a temporary folder, served and replaced.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str, groups: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

struct Folder {
    root: tempfile::TempDir,
    authority: Authority,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { root: tempfile::tempdir().unwrap(), authority: Authority::new() };
        std::fs::write(folder.path("ca.crt"), folder.authority.0.pem()).unwrap();
        folder.write_server("first.test");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write_server(&self, name: &str) {
        let (certificate, key) = self.authority.issue(name, &[]);
        std::fs::write(self.path("server.crt"), certificate.pem()).unwrap();
        std::fs::write(self.path("server.key"), key.serialize_pem()).unwrap();
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { cert: self.path("server.crt"), key: self.path("server.key"), client_ca: Some(self.path("ca.crt")) }
    }
}

async fn handshake(
    server: &Arc<ServerConfig>,
    client: rustls::ClientConfig,
    name: &'static str,
) -> std::io::Result<Option<PeerIdentity>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(client)).connect(name.try_into().unwrap(), stream).await
    };
    let accept = async {
        let (stream, _) = listener.accept().await?;
        TlsAcceptor::from(Arc::clone(server)).accept(stream).await
    };
    let (client, server) = tokio::join!(connect, accept);
    let server = server?;
    client?;
    Ok(server.get_ref().1.peer_certificates().map(|chain| peer_identity(&chain[0]).unwrap()))
}

fn client(trusted: &Authority, identity: Option<(rcgen::Certificate, KeyPair)>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.0.der().clone()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
    }
}

#[tokio::test]
async fn a_client_that_prefers_long_keys_gets_those_that_cost_least() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = TlsConnector::from(Arc::new(client(&folder.authority, None)));
    let acceptor = TlsAcceptor::from(server_config(folder.files()).unwrap());
    let connect = async {
        let stream = TcpStream::connect(address).await.unwrap();
        connector.connect("first.test".try_into().unwrap(), stream).await.unwrap()
    };
    let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let (client, _server) = tokio::join!(connect, accept);
    let suite = client.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}

#[tokio::test]
async fn a_client_certificate_names_its_user_and_groups() {
    let folder = Folder::new();
    let server = server_config(folder.files()).unwrap();
    let identity = folder.authority.issue("system:node:a", &["system:nodes"]);
    let seen = handshake(&server, client(&folder.authority, Some(identity)), "first.test").await.unwrap().unwrap();
    assert_eq!(seen.common_name, "system:node:a");
    assert_eq!(seen.organizations, ["system:nodes"]);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in_unnamed() {
    let folder = Folder::new();
    let server = server_config(folder.files()).unwrap();
    assert_eq!(handshake(&server, client(&folder.authority, None), "first.test").await.unwrap(), None);
}

#[tokio::test]
async fn a_client_certificate_of_a_stranger_is_refused() {
    let folder = Folder::new();
    let server = server_config(folder.files()).unwrap();
    let stranger = Authority::new().issue("root", &["system:masters"]);
    assert!(handshake(&server, client(&folder.authority, Some(stranger)), "first.test").await.is_err());
}

#[tokio::test]
async fn a_replaced_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let folder = Folder::new();
    let server = server_config(folder.files()).unwrap();
    folder.write_server("second.example.test");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    handshake(&server, client(&folder.authority, None), "second.example.test").await.unwrap();
    std::fs::write(folder.path("server.crt"), "broken").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    handshake(&server, client(&folder.authority, None), "second.example.test").await.unwrap();
}

fn with(folder: &Folder, settings: &TlsSettings) -> Arc<ServerConfig> {
    server_config_with(folder.files(), Vec::new(), settings).unwrap()
}

#[tokio::test]
async fn a_client_gets_the_certificate_for_the_name_it_asks_for() {
    let folder = Folder::new();
    for (file, name) in [("own", "own.test"), ("given", "*.given.test")] {
        let (certificate, key) = folder.authority.issue(name, &[]);
        std::fs::write(folder.path(&format!("{file}.crt")), certificate.pem()).unwrap();
        std::fs::write(folder.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }
    let pair = |file: &str, names: &str| {
        let path = |end: &str| folder.path(&format!("{file}.{end}")).display().to_string();
        NamedFiles::parse(&format!("{},{}{names}", path("crt"), path("key"))).unwrap()
    };
    let named = vec![pair("own", ""), pair("given", ":a.given.test")];
    let server = with(&folder, &TlsSettings { named, ..TlsSettings::default() });
    for (name, fits) in [("first.test", true), ("own.test", true), ("a.given.test", true), ("b.given.test", false)] {
        let shaken = handshake(&server, client(&folder.authority, None), name).await;
        assert_eq!(shaken.is_ok(), fits, "{name}");
    }
}

#[tokio::test]
async fn a_client_that_speaks_less_than_what_was_set_is_refused() {
    let folder = Folder::new();
    let old = |suites: &[&str]| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(folder.authority.0.der().clone()).unwrap();
        let cipher_suites = suites.iter().map(|name| CipherSuite::parse(name).unwrap()).collect();
        let settings = TlsSettings { cipher_suites, ..TlsSettings::default() };
        rustls::ClientConfig::builder_with_provider(Arc::new(settings.provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    };
    let (first, second) = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    let only = |min_version, names: &[&str]| {
        let cipher_suites = names.iter().map(|name| CipherSuite::parse(name).unwrap()).collect();
        with(&folder, &TlsSettings { min_version, cipher_suites, ..TlsSettings::default() })
    };
    for (server, client, fits) in [
        (only(MinVersion::Tls12, &[]), old(&[first]), true),
        (only(MinVersion::Tls13, &[]), old(&[first]), false),
        (only(MinVersion::Tls12, &[first]), old(&[first]), true),
        (only(MinVersion::Tls12, &[first]), old(&[second]), false),
    ] {
        assert_eq!(handshake(&server, client, "first.test").await.is_ok(), fits);
    }
    let new = client(&folder.authority, None);
    assert!(handshake(&only(MinVersion::Tls13, &[first]), new, "first.test").await.is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let files = TlsFiles { cert: "/none/server.crt".into(), key: "/none/server.key".into(), client_ca: None };
    assert_eq!(server_config(files).unwrap_err().to_string(), "cannot read certificates from /none/server.crt");
}

#[test]
fn a_verifier_tells_authorities_apart() {
    let folder = Folder::new();
    let verifier = ClientVerifier::new(vec![folder.path("ca.crt")]).unwrap();
    let own = folder.authority.issue("a", &[]).0.der().clone();
    let other = Authority::new().issue("a", &[]).0.der().clone();
    assert!(verifier.verify(&[own]).is_ok());
    assert!(verifier.verify(&[other]).is_err());
}
